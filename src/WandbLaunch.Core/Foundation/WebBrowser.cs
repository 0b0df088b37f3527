using System.ComponentModel;
using System.Diagnostics;

namespace WandbLaunch.Foundation;

/// <summary>The user's web browser: the one that BROWSER names, else what the platform opens pages with. A BROWSER that is not there means none.</summary>
internal sealed class WebBrowser(LaunchEnvironment environment)
{
    // What opens a page ends at once as a rule; a browser that was started itself goes on, and that is no fault.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(3);

    /// <summary>Opens a page. False where there is no browser, or it would not.</summary>
    /// <exception cref="LaunchException"><c>PageRefused</c>: the address is not of a web page.</exception>
    internal async Task<bool> OpenAsync(string address, CancellationToken token)
    {
        if (
            !Uri.TryCreate(address, UriKind.Absolute, out var page)
            || page.Scheme is not ("http" or "https")
            || page.UserInfo.Length > 0
        )
        {
            throw new LaunchException(
                "PageRefused",
                LaunchErrorCategory.SecurityError,
                $"'{address}' is not the address of a web page (http or https, without a login in it), and is not opened.",
                address
            );
        }

        // One word, in which blanks and quotes are escaped.
        return await OpenWordAsync(page.AbsoluteUri, page.AbsoluteUri, token);
    }

    /// <summary>Opens a page that this module wrote to the disk. False where there is no browser, or it would not.</summary>
    internal Task<bool> OpenFileAsync(string path, CancellationToken token) =>
        OpenWordAsync(new Uri(path).AbsoluteUri, path, token);

    private async Task<bool> OpenWordAsync(string address, string shown, CancellationToken token)
    {
        var start =
            Program() is { } program ? Redirected(program, address)
            : environment.IsWindows && environment["BROWSER"] is null
                ? new ProcessStartInfo(shown) { UseShellExecute = true }
            : null;
        try
        {
            return start is not null && await StartAsync(start, token);
        }
        catch (Exception e) when (e is Win32Exception or InvalidOperationException or IOException)
        {
            return false;
        }
    }

    private string? Program()
    {
        if (environment["BROWSER"] is { } named)
        {
            return named
                .Split(environment.IsWindows ? ';' : ':', StringSplitOptions.RemoveEmptyEntries)
                .Select(ProgramPath.Find)
                .FirstOrDefault(p => p is not null && File.Exists(p));
        }

        return environment.IsWindows ? null
            : OperatingSystem.IsMacOS() ? ProgramPath.Find("open")
            // Linux inside Windows has the browser of Windows.
            : ProgramPath.Find("wslview")
                ?? (
                    environment["DISPLAY"] is null && environment["WAYLAND_DISPLAY"] is null
                        ? null
                        : ProgramPath.Find("xdg-open")
                );
    }

    // What a browser says is nothing for the terminal.
    private static ProcessStartInfo Redirected(string program, string page) =>
        new(program, [page])
        {
            UseShellExecute = false,
            CreateNoWindow = true,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };

    private static async Task<bool> StartAsync(ProcessStartInfo start, CancellationToken token)
    {
        var process = Process.Start(start);
        if (process is null || start.UseShellExecute)
        {
            // The system handed it to a browser that runs already.
            process?.Dispose();
            return true;
        }

        process.StandardInput.Close();
        var ended = EndAsync(process);
        try
        {
            return await ended.WaitAsync(Patience, token) == 0;
        }
        catch (TimeoutException)
        {
            return true;
        }
    }

    // Read for as long as it lives, so that it never waits for a reader; its children may hold the pipes longer.
    private static async Task<int> EndAsync(Process process)
    {
        using (process)
        {
            _ = DrainAsync(process.StandardOutput.BaseStream);
            _ = DrainAsync(process.StandardError.BaseStream);
            await process.WaitForExitAsync();
            return process.ExitCode;
        }
    }

    private static async Task DrainAsync(Stream said)
    {
        try
        {
            await said.CopyToAsync(Stream.Null);
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            // Gone.
        }
    }
}
