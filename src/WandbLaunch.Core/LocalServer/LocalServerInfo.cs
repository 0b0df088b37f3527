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

    /// <summary>Where others reach it by TLS; null without a certificate.</summary>
    public string? SecureUrl { get; init; }

    /// <summary>Address by which others know it, where it was given.</summary>
    public string? PublicUrl { get; init; }

    /// <summary>File of the certificate.</summary>
    public string? CertificatePath { get; init; }

    /// <summary>File of the certificate's key, where that is another.</summary>
    public string? CertificateKeyPath { get; init; }

    /// <summary>True when others may reach it without encryption.</summary>
    public bool AllowInsecure { get; init; }

    /// <summary>Addresses and networks of proxies whose word on where a request came from is taken.</summary>
    public IReadOnlyList<string> TrustedProxies { get; init; } = [];

    /// <summary>Port of ListenAddress.</summary>
    [JsonIgnore]
    public int Port => new Uri(SecureUrl ?? Url).Port;

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
    private const int CertificateUnusable = 5;

    private static string StatePath(string path) => path + ".server.json";

    private static string KeyPath(string path) => path + ".key";

    private static string WebhookPath(string path) => path + ".webhook";

    private static string PasswordPath(string path) => path + ".certificate-password";

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

    /// <summary>Starts a server as it was started last, where it does not run.</summary>
    internal static Task<LaunchServerInfo> StartAsync(
        LaunchContext context,
        string path,
        CancellationToken token,
        Action<string>? say = null
    ) => StartAsync(context, path, new ServerNetwork(), token, say);

    /// <summary>Starts a server where it does not run.</summary>
    internal static async Task<LaunchServerInfo> StartAsync(
        LaunchContext context,
        string path,
        ServerNetwork network,
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

            return network.Changes(known)
                ? throw new LaunchException(
                    "ServerRunning",
                    LaunchErrorCategory.ResourceExists,
                    $"The server of {full} runs already at {known.Url}. Stop it first to change its port, or how others reach it.",
                    known
                )
                : known;
        }

        var how = network.Over(known);
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

        if (network.CertificatePassword is { Length: > 0 } password)
        {
            FileModes.WritePrivate(PasswordPath(full), password);
        }
        else if (network.CertificatePath is not null)
        {
            File.Delete(PasswordPath(full));
        }

        // The same ports again where they are free, so that run URLs stay true.
        var isSecure = how.CertificatePath is not null;
        var wanted = network.Port ?? (known is null ? 0 : known.Port);
        var local = isSecure && known?.SecureUrl is not null ? new Uri(known.Url).Port : 0;
        var secrets = Secret(full);
        var process = Launch(context.Environment, how.Arguments(full, wanted, local), secrets);
        try
        {
            var (url, secure) = await WaitForUrlAsync(process, say, token);
            if (
                url is null
                && (network.Port is null ? wanted != 0 : local != 0)
                && !await FailedForGoodAsync(process, token)
            )
            {
                process.Dispose();
                process = Launch(context.Environment, how.Arguments(full, network.Port ?? 0, 0), secrets);
                (url, secure) = await WaitForUrlAsync(process, say, token);
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
                    CertificateUnusable => new LaunchException(
                        "CertificateInvalid",
                        LaunchErrorCategory.InvalidData,
                        $"The launch server did not start: {error}",
                        how.CertificatePath
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
                Url = url.Replace("//0.0.0.0:", "//127.0.0.1:", StringComparison.Ordinal)
                    .Replace("//[::]:", "//[::1]:", StringComparison.Ordinal),
                SecureUrl = secure,
                PublicUrl = how.PublicUrl,
                CertificatePath = how.CertificatePath,
                CertificateKeyPath = how.CertificateKeyPath,
                AllowInsecure = how.AllowInsecure is true,
                TrustedProxies = how.TrustedProxies!,
                Path = full,
                KeyPath = KeyPath(full),
                ProcessId = process.Id,
                Started = context.Time.GetUtcNow(),
                ListenAddress = how.ListenAddress!,
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
        return process.ExitCode is DatabaseUnusable or DatabaseInUse or CertificateUnusable;
    }

    private static ChildProcess Launch(
        LaunchEnvironment environment,
        IEnumerable<string> words,
        Dictionary<string, string> secrets
    ) => OwnProgram.Server(environment).Start([.. words], secrets);

    // Nothing that is secret stands in a command line, which others see.
    private static Dictionary<string, string> Secret(string path)
    {
        var secrets = new Dictionary<string, string> { ["WANDBLAUNCH_SERVER_KEY"] = ReadKey(path) };
        if (File.Exists(WebhookPath(path)))
        {
            secrets["WANDBLAUNCH_SERVER_ALERT_WEBHOOK"] = FileModes.ReadShared(WebhookPath(path)).Trim();
        }

        if (File.Exists(PasswordPath(path)))
        {
            secrets["WANDBLAUNCH_SERVER_CERTIFICATE_PASSWORD"] = Secrets.Register(
                FileModes.ReadShared(PasswordPath(path))
            );
        }

        return secrets;
    }

    private static async Task<(string? Url, string? Secure)> WaitForUrlAsync(
        ChildProcess process,
        Action<string>? say,
        CancellationToken token
    )
    {
        const string Note = "note ";
        const string Safe = "secure ";
        const string Listening = "listening ";
        process.StandardInput.Close();
        string? secure = null;
        while (await process.StandardOutput.ReadLineAsync(token) is { } line)
        {
            if (line.StartsWith(Note, StringComparison.Ordinal))
            {
                say?.Invoke(line[Note.Length..]);
            }
            else if (line.StartsWith(Safe, StringComparison.Ordinal))
            {
                secure = line[Safe.Length..];
            }
            else
            {
                return line.StartsWith(Listening, StringComparison.Ordinal)
                    ? (line[Listening.Length..], secure)
                    : (null, null);
            }
        }

        return (null, null);
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
