using System.Diagnostics;
using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;

namespace WandbLaunch.LocalServer;

/// <summary>The launch server of this user on this machine.</summary>
public sealed record LaunchServerInfo
{
    /// <summary>Address for Connect-Wandb and WANDB_BASE_URL.</summary>
    public required string Url { get; init; }

    /// <summary>SQLite file with all its data.</summary>
    public required string Path { get; init; }

    /// <summary>File with the API key, readable for its owner only.</summary>
    public required string KeyPath { get; init; }

    /// <summary>Process id.</summary>
    public int ProcessId { get; init; }

    /// <summary>When it was started.</summary>
    public DateTimeOffset Started { get; init; }

    /// <summary>Address that it listens on.</summary>
    public string ListenAddress { get; init; } = "127.0.0.1";

    /// <summary>True when it answers.</summary>
    [JsonIgnore]
    public bool Running { get; init; }

    /// <inheritdoc/>
    public override string ToString() => Url;
}

/// <summary>Where a server sends alerts of runs on to; without an address, nowhere.</summary>
internal sealed record AlertWebhook(Uri? Address);

/// <summary>Starts, finds and stops local servers. One for each database file.</summary>
internal static class LocalServers
{
    internal static string DefaultPath(LaunchContext context) => Path.Combine(context.DataFolder, "server", "wandb.db");

    // Exit codes of the server (StartFault there).
    private const int DatabaseUnusable = 3;
    private const int DatabaseInUse = 4;

    private static string StatePath(string path) => path + ".server.json";

    private static string KeyPath(string path) => path + ".key";

    private static string WebhookPath(string path) => path + ".webhook";

    internal static string ReadKey(string path) => Secrets.Register(FileModes.ReadShared(KeyPath(path)).Trim());

    internal static async Task<LaunchServerInfo?> FindAsync(string path, CancellationToken token)
    {
        var full = Path.GetFullPath(path);
        if (!File.Exists(StatePath(full)))
        {
            return null;
        }

        LaunchServerInfo? state;
        try
        {
            state = JsonSerializer.Deserialize<LaunchServerInfo>(
                FileModes.ReadShared(StatePath(full)),
                LaunchStore.Json
            );
        }
        catch (JsonException)
        {
            return null;
        }

        return state is null ? null : state with { Running = await AnswersAsync(state, token) };
    }

    internal static async Task<LaunchServerInfo> StartAsync(
        LaunchContext context,
        string path,
        int? port,
        string? listen,
        CancellationToken token,
        Action<string>? say = null,
        AlertWebhook? alerts = null
    )
    {
        var full = Path.GetFullPath(path);
        FileModes.CreatePrivateFolder(Path.GetDirectoryName(full)!);
        using var held = await FileLock.EnterAsync(full + ".lock", token);
        var known = await FindAsync(full, token);
        if (known is { Running: true })
        {
            if (alerts is not null)
            {
                throw new LaunchException(
                    "ServerRunning",
                    LaunchErrorCategory.ResourceExists,
                    $"The server of {full} runs already at {known.Url}. Stop it first to change where alerts go.",
                    known
                );
            }

            return port is not null && port != new Uri(known.Url).Port
                ? throw new LaunchException(
                    "ServerRunning",
                    LaunchErrorCategory.ResourceExists,
                    $"The server of {full} runs already at {known.Url}. Stop it first to change its port.",
                    known
                )
                : known;
        }

        if (!File.Exists(KeyPath(full)))
        {
            FileModes.WritePrivate(
                KeyPath(full),
                "local-" + RandomNumberGenerator.GetString("abcdefghijklmnopqrstuvwxyz0123456789", 40)
            );
        }

        if (alerts is { Address: { } given })
        {
            FileModes.WritePrivate(WebhookPath(full), given.AbsoluteUri);
        }
        else if (alerts is not null)
        {
            File.Delete(WebhookPath(full));
        }

        // The same port again where it is free, so that run URLs stay true.
        var wanted = port ?? (known is null ? 0 : new Uri(known.Url).Port);
        var address = listen ?? known?.ListenAddress ?? "127.0.0.1";
        var webhook = File.Exists(WebhookPath(full)) ? FileModes.ReadShared(WebhookPath(full)).Trim() : null;
        var process = Launch(context.Environment, full, wanted, address, ReadKey(full), webhook);
        try
        {
            var url = await WaitForUrlAsync(process, say, token);
            if (url is null && port is null && wanted != 0 && !await FailedForGoodAsync(process, token))
            {
                process.Dispose();
                process = Launch(context.Environment, full, 0, address, ReadKey(full), webhook);
                url = await WaitForUrlAsync(process, say, token);
            }

            if (url is null)
            {
                var error = (await process.StandardError.ReadToEndAsync(token)).Trim();
                await process.WaitForExitAsync(token);
                throw process.ExitCode switch
                {
                    DatabaseUnusable => new LaunchException(
                        "DatabaseUnusable",
                        LaunchErrorCategory.InvalidData,
                        $"The launch server did not start: {error}",
                        full
                    ),
                    DatabaseInUse => new LaunchException(
                        "DatabaseInUse",
                        LaunchErrorCategory.ResourceExists,
                        $"The launch server did not start: {error}",
                        full
                    ),
                    _ => NotStarted(error),
                };
                LaunchException NotStarted(string why) =>
                    new(
                        "ServerNotStarted",
                        LaunchErrorCategory.ResourceUnavailable,
                        $"The launch server did not start: {why} Is the port taken? Choose one with -Port.",
                        full
                    );
            }

            var info = new LaunchServerInfo
            {
                Url =
                    IPAddress.TryParse(address, out var ip) && !IPAddress.IsLoopback(ip)
                        ? url.Replace("0.0.0.0", "127.0.0.1", StringComparison.Ordinal)
                        : url,
                Path = full,
                KeyPath = KeyPath(full),
                ProcessId = process.Id,
                Started = context.Time.GetUtcNow(),
                ListenAddress = address,
                Running = true,
            };
            FileModes.WritePrivate(StatePath(full), JsonSerializer.Serialize(info, LaunchStore.Json));
            return info;
        }
        finally
        {
            process.Dispose();
        }
    }

    internal static async Task StopAsync(LaunchServerInfo server, CancellationToken token)
    {
        using var process = ProcessOf(server);
        using var client = Client(server);
        using var content = new StringContent("{}", Encoding.UTF8, "application/json");
        using var response = await client.PostAsync(new Uri(server.Url + "/shutdown"), content, token);
        response.EnsureSuccessStatusCode();
        for (var i = 0; i < 100 && await AnswersAsync(server, token); i++)
        {
            await Task.Delay(50, token);
        }

        // It has the database until its process ends; the next command may be a start.
        if (process is not null)
        {
            try
            {
                await process.WaitForExitAsync(token).WaitAsync(TimeSpan.FromSeconds(20), token);
            }
            catch (TimeoutException)
            {
                // Requests of others hold it; it takes no new ones.
            }
        }
    }

    private static Process? ProcessOf(LaunchServerInfo server)
    {
        try
        {
            return Process.GetProcessById(server.ProcessId);
        }
        catch (ArgumentException)
        {
            return null;
        }
    }

    // Another port would not help.
    private static async Task<bool> FailedForGoodAsync(ChildProcess process, CancellationToken token)
    {
        await process.WaitForExitAsync(token);
        return process.ExitCode is DatabaseUnusable or DatabaseInUse;
    }

    private static ChildProcess Launch(
        LaunchEnvironment environment,
        string path,
        int port,
        string listen,
        string key,
        string? webhook
    ) =>
        OwnProgram
            .Server(environment)
            .Start(
                [
                    "--path",
                    path,
                    "--port",
                    port.ToString(System.Globalization.CultureInfo.InvariantCulture),
                    "--listen",
                    listen,
                ],
                // Nothing that is secret stands in a command line, which others see.
                webhook is null
                    ? new Dictionary<string, string> { ["WANDBLAUNCH_SERVER_KEY"] = key }
                    : new Dictionary<string, string>
                    {
                        ["WANDBLAUNCH_SERVER_KEY"] = key,
                        ["WANDBLAUNCH_SERVER_ALERT_WEBHOOK"] = webhook,
                    }
            );

    private static async Task<string?> WaitForUrlAsync(
        ChildProcess process,
        Action<string>? say,
        CancellationToken token
    )
    {
        process.StandardInput.Close();
        var line = await process.StandardOutput.ReadLineAsync(token);
        while (line is not null && line.StartsWith("note ", StringComparison.Ordinal))
        {
            say?.Invoke(line["note ".Length..]);
            line = await process.StandardOutput.ReadLineAsync(token);
        }

        return line is not null && line.StartsWith("listening ", StringComparison.Ordinal)
            ? line["listening ".Length..]
            : null;
    }

    private static async Task<bool> AnswersAsync(LaunchServerInfo server, CancellationToken token)
    {
        if (!File.Exists(server.KeyPath))
        {
            return false;
        }

        try
        {
            using var client = Client(server);
            client.Timeout = TimeSpan.FromSeconds(5);
            using var content = new StringContent(
                "{\"query\":\"{ viewer { entity } }\"}",
                Encoding.UTF8,
                "application/json"
            );
            using var response = await client.PostAsync(new Uri(server.Url + "/graphql"), content, token);
            return response.IsSuccessStatusCode;
        }
        catch (Exception e)
            when (e is HttpRequestException || (e is OperationCanceledException && !token.IsCancellationRequested))
        {
            return false;
        }
    }

    /// <summary>The server of a database, which must run.</summary>
    /// <exception cref="LaunchException"><c>ServerNotRunning</c>.</exception>
    internal static async Task<LaunchServerInfo> NeedAsync(string path, CancellationToken token) =>
        await FindAsync(path, token) is { Running: true } server
            ? server
            : throw new LaunchException(
                "ServerNotRunning",
                LaunchErrorCategory.ObjectNotFound,
                $"No launch server runs for {path}. Start it with Start-WandbLaunchServer.",
                path
            );

    /// <summary>Asks a server for what is no part of W&amp;B's API, with its own key.</summary>
    /// <exception cref="LaunchException">What <paramref name="fault"/> makes of a refusal, or what any refusal of a server is.</exception>
    internal static async Task<JsonDocument> AskAsync(
        LaunchServerInfo server,
        HttpMethod method,
        string path,
        object? body,
        Func<HttpStatusCode, string, LaunchException?> fault,
        CancellationToken token
    )
    {
        using var client = Client(server);
        using var request = new HttpRequestMessage(method, new Uri(server.Url + path));
        if (body is not null)
        {
            request.Content = new StringContent(JsonSerializer.Serialize(body), Encoding.UTF8, "application/json");
        }

        HttpResponseMessage response;
        try
        {
            response = await client.SendAsync(request, token);
        }
        catch (HttpRequestException e)
        {
            throw new LaunchException(
                "ServerNotRunning",
                LaunchErrorCategory.ObjectNotFound,
                $"The launch server at {server.Url} does not answer any more: {e.Message} Start it with Start-WandbLaunchServer.",
                server.Path,
                e
            );
        }

        using (response)
        {
            if (!response.IsSuccessStatusCode && await ReasonAsync(response, token) is { } reason)
            {
                throw fault(response.StatusCode, reason)
                    ?? new LaunchException(
                        "ServerError",
                        LaunchErrorCategory.ConnectionError,
                        $"The server at {server.Url} failed at {path} (HTTP {(int)response.StatusCode}: {reason}). Its log says more.",
                        server
                    );
            }

            return await JsonDocument.ParseAsync(
                await response.Content.ReadAsStreamAsync(token),
                cancellationToken: token
            );
        }
    }

    private static async Task<string> ReasonAsync(HttpResponseMessage response, CancellationToken token)
    {
        try
        {
            using var answer = JsonDocument.Parse(await response.Content.ReadAsStringAsync(token));
            return answer.RootElement.GetProperty("error").GetString() ?? "";
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            return response.ReasonPhrase ?? "";
        }
    }

    /// <summary>A client with the server's key.</summary>
    internal static HttpClient Client(LaunchServerInfo server)
    {
        var client = new HttpClient(new SocketFaultHandler(new SocketsHttpHandler { AllowAutoRedirect = false }));
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue(
            "Basic",
            Convert.ToBase64String(Encoding.UTF8.GetBytes("api:" + ReadKey(server.Path)))
        );
        return client;
    }
}
