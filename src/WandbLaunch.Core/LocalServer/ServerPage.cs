using System.Net;
using System.Text;
using System.Text.Json;
using WandbLaunch.Foundation;

namespace WandbLaunch.LocalServer;

/// <summary>Opens pages of this machine's server so that one is signed in there without typing the key.</summary>
internal static class ServerPage
{
    private static readonly TimeSpan LinkLife = TimeSpan.FromMinutes(2);

    /// <summary>The address with a code that signs in once, for two minutes. Null where the server gives none: its page asks for the key then.</summary>
    internal static async Task<string?> TryLinkAsync(LaunchServerInfo server, string address, CancellationToken token)
    {
        try
        {
            using var client = LocalServers.Client(server);
            using var content = new StringContent("{}", Encoding.UTF8, "application/json");
            using var response = await client.PostAsync(new Uri(server.Url + "/session/link"), content, token);
            response.EnsureSuccessStatusCode();
            using var answer = JsonDocument.Parse(await response.Content.ReadAsStringAsync(token));
            return address + "#link=" + answer.RootElement.GetProperty("code").GetString();
        }
        catch (Exception e) when (e is HttpRequestException or JsonException or KeyNotFoundException)
        {
            return null;
        }
    }

    /// <summary>Opens a page in the browser, signed in where it is one of this machine's server. False where there is no browser.</summary>
    internal static async Task<bool> OpenAsync(LaunchContext context, string address, CancellationToken token) =>
        await ServerOfAsync(context, address, token) is { } server
            ? await OpenAsync(context, server, address, token)
            : await new WebBrowser(context.Environment).OpenAsync(address, token);

    /// <summary>Opens a page of a server of this machine, signed in.</summary>
    internal static async Task<bool> OpenAsync(
        LaunchContext context,
        LaunchServerInfo server,
        string address,
        CancellationToken token
    )
    {
        var browser = new WebBrowser(context.Environment);
        return await TryLinkAsync(server, address, token) is { } link
            ? await browser.OpenFileAsync(Write(context, link), token)
            : await browser.OpenAsync(address, token);
    }

    /// <summary>This machine's server, where the address is one of its pages.</summary>
    private static async Task<LaunchServerInfo?> ServerOfAsync(
        LaunchContext context,
        string address,
        CancellationToken token
    ) =>
        Uri.TryCreate(address, UriKind.Absolute, out var page)
        && page.Fragment.Length == 0
        && page.UserInfo.Length == 0
        && await LocalServers.FindAsync(LocalServers.DefaultPath(context), token) is { Running: true } server
        && Uri.TryCreate(server.Url, UriKind.Absolute, out var own)
        && page.Scheme == own.Scheme
        && page.Authority == own.Authority
            ? server
            : null;

    /// <summary>
    /// A file that leads to the address. What a browser is started with is in the list of processes, for every user of the
    /// machine to see: there it says the name of a file that only its owner can read.
    /// </summary>
    internal static string Write(LaunchContext context, string address)
    {
        var folder = FileModes.CreatePrivateFolder(Path.Combine(context.DataFolder, "open"));
        foreach (var old in Directory.EnumerateFiles(folder, "*.html"))
        {
            if (DateTime.UtcNow - File.GetLastWriteTimeUtc(old) > LinkLife)
            {
                TryDelete(old);
            }
        }

        var path = Path.Combine(folder, Guid.NewGuid().ToString("n") + ".html");
        var target = WebUtility.HtmlEncode(address);
        FileModes.WritePrivate(
            path,
            $"""
            <!doctype html>
            <meta charset="utf-8">
            <meta name="referrer" content="no-referrer">
            <meta http-equiv="refresh" content="0; url={target}">
            <title>WandbLaunch</title>
            <p><a href="{target}">Open the page</a></p>

            """
        );
        return path;
    }

    private static void TryDelete(string path)
    {
        try
        {
            File.Delete(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A browser reads it; its code is over.
        }
    }
}
