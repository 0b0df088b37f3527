using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using GraphQL;
using GraphQL.SystemTextJson;
using GraphQL.Types;

namespace WandbLaunch.Server;

/// <summary>The local launch server: <c>--path FILE [--port N] [--listen ADDRESS]</c>.</summary>
internal static class Program
{
    private static async Task<int> Main(string[] args)
    {
        string? path = null;
        var port = 0;
        var listen = "127.0.0.1";
        for (var i = 0; i + 1 < args.Length; i += 2)
        {
            switch (args[i])
            {
                case "--path":
                    path = args[i + 1];
                    break;
                case "--port":
                    port = int.Parse(args[i + 1], System.Globalization.CultureInfo.InvariantCulture);
                    break;
                case "--listen":
                    listen = args[i + 1];
                    break;
            }
        }

        if (path is null)
        {
            await Console.Error.WriteLineAsync("usage: WandbLaunch.Server --path FILE [--port N] [--listen ADDRESS]");
            return 2;
        }

        // The key comes by the environment, so that no other user sees it in the process list.
        var key = Environment.GetEnvironmentVariable("WANDBLAUNCH_SERVER_KEY");
        if (string.IsNullOrEmpty(key))
        {
            await Console.Error.WriteLineAsync("WANDBLAUNCH_SERVER_KEY is not set");
            return 2;
        }

        LaunchServer server;
        try
        {
            server = await LaunchServer.StartAsync(path, listen, port, key);
        }
        catch (IOException e)
        {
            await Console.Error.WriteLineAsync(e.Message);
            return 1;
        }

        await using (server)
        {
            using var hangup = OperatingSystem.IsWindows()
                ? null
                : System.Runtime.InteropServices.PosixSignalRegistration.Create(
                    System.Runtime.InteropServices.PosixSignal.SIGHUP,
                    c => c.Cancel = true
                );
            if (!OperatingSystem.IsWindows())
            {
                _ = setsid();
            }

            await Console.Out.WriteLineAsync("listening " + server.Url);
            await Console.Out.FlushAsync();
            Console.SetOut(TextWriter.Null);
            await server.WaitForShutdownAsync();
        }

        return 0;
    }

    [System.Runtime.InteropServices.DllImport("libc", SetLastError = true)]
    private static extern int setsid();
}

/// <summary>The server in a process: Kestrel on one address, every request with the key.</summary>
internal sealed class LaunchServer : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly Store _store;

    private LaunchServer(WebApplication app, Store store)
    {
        _app = app;
        _store = store;
    }

    internal string Url => _app.Urls.First();

    /// <summary>Starts a server. Tests ask for one that speaks only what servers of 2022 did, or whose leases are short.</summary>
    internal static async Task<LaunchServer> StartAsync(
        string path,
        string listen,
        int port,
        string key,
        bool generation2022 = false,
        TimeSpan? lease = null
    )
    {
        var store = new Store(path) { Lease = lease ?? TimeSpan.FromSeconds(60) };
        var schema = WandbSchema.Create(store, generation2022);
        var builder = WebApplication.CreateEmptyBuilder(
            new WebApplicationOptions { ApplicationName = "WandbLaunch.Server" }
        );
        builder
            .WebHost.UseKestrelCore()
            .ConfigureKestrel(o =>
            {
                o.Listen(System.Net.IPAddress.Parse(listen), port);
                o.Limits.MaxRequestBodySize = 2L << 30;
                o.AddServerHeader = false;
            });
        builder.Services.AddRoutingCore();
        var app = builder.Build();
        var expected = Encoding.UTF8.GetBytes(key);
        var signer = new UrlSigner(expected);
        app.Use(
            async (context, next) =>
            {
                // A page of another site must not reach this server through a name that points here.
                var host = context.Request.Host.Host;
                if (listen == "127.0.0.1" && host is not ("127.0.0.1" or "localhost" or "host.docker.internal"))
                {
                    context.Response.StatusCode = 403;
                    await context.Response.WriteAsJsonAsync(new { error = "unknown host name" });
                }
                else if (
                    !IsAllowed(context.Request.Headers.Authorization.ToString(), expected)
                    && !signer.Verify(context.Request)
                )
                {
                    context.Response.StatusCode = 401;
                    context.Response.Headers.WWWAuthenticate = "Basic realm=\"user api, password: the API key\"";
                    await context.Response.WriteAsJsonAsync(new { error = "invalid API key" });
                }
                else
                {
                    await next(context);
                }
            }
        );
        app.UseRouting();
        Map(app, store, schema, signer);
        await app.StartAsync();
        return new LaunchServer(app, store);
    }

    internal Task WaitForShutdownAsync() => _app.WaitForShutdownAsync();

    public async ValueTask DisposeAsync()
    {
        await _app.DisposeAsync();
        _store.Dispose();
    }

    private static void Map(WebApplication app, Store store, ISchema schema, UrlSigner signer)
    {
        var executer = new DocumentExecuter();
        var serializer = new GraphQLSerializer();

        // Clients send the same few texts again and again: parsed and validated once.
        var documents = new System.Collections.Concurrent.ConcurrentDictionary<
            string,
            GraphQLParser.AST.GraphQLDocument
        >(StringComparer.Ordinal);
        app.MapPost(
            "/graphql",
            async context =>
            {
                JsonElement body;
                try
                {
                    using var document = await JsonDocument.ParseAsync(
                        context.Request.Body,
                        default,
                        context.RequestAborted
                    );
                    body = document.RootElement.Clone();
                }
                catch (JsonException)
                {
                    context.Response.StatusCode = 400;
                    await context.Response.WriteAsJsonAsync(
                        new { errors = new[] { new { message = "the body is not JSON" } } }
                    );
                    return;
                }

                var text = body.TryGetProperty("query", out var query) ? query.GetString() ?? "" : "";
                var known = documents.GetValueOrDefault(text);
                var result = await executer.ExecuteAsync(o =>
                {
                    o.Schema = schema;
                    o.Query = text;
                    o.Document = known;
                    o.OperationName = null;
                    o.Variables =
                        body.TryGetProperty("variables", out var variables)
                        && variables.ValueKind == JsonValueKind.Object
                            ? serializer.ReadNode<Inputs>(variables)
                            : Inputs.Empty;
                    o.UserContext = new Dictionary<string, object?>
                    {
                        ["base"] = $"{context.Request.Scheme}://{context.Request.Host}",
                        ["signer"] = signer,
                    };
                    o.CancellationToken = context.RequestAborted;
                    o.UnhandledExceptionDelegate = e =>
                    {
                        e.ErrorMessage = e.OriginalException.Message;
                        return Task.CompletedTask;
                    };
                });
                if (
                    known is null
                    && result is { Executed: true, Document: { } parsed }
                    && text.Length < 20_000
                    && documents.Count < 1000
                )
                {
                    documents[text] = parsed;
                }

                if (result.Errors is { } faults)
                {
                    // W&B's clients look for this text with double quotes (protocol B.1, B.3).
                    result.Errors = [];
                    result.Errors.AddRange(
                        faults.Select(e =>
                            e.Message.StartsWith("Cannot query field", StringComparison.Ordinal)
                                ? new ExecutionError(e.Message.Replace('\'', '"')) { Code = e.Code }
                                : e
                        )
                    );
                }

                context.Response.ContentType = "application/json";
                await serializer.WriteAsync(context.Response.Body, result, context.RequestAborted);
            }
        );
        app.MapPost(
            "/files/{entity}/{project}/{run}/file_stream",
            (string entity, string project, string run, HttpContext context) =>
                StreamAsync(store, entity, project, run, context)
        );
        app.MapGet(
            "/files/{entity}/{project}/{run}/{**name}",
            async (string entity, string project, string run, string name, HttpContext context) =>
            {
                if (
                    Find(store, entity, project, run) is not { } found
                    || store.OpenFile(found.Key, name) is not { } content
                )
                {
                    await NotFoundAsync(context);
                    return;
                }

                await using (content)
                {
                    // Never as a page of this origin: the content is other people's.
                    context.Response.ContentType = "application/octet-stream";
                    context.Response.Headers.ContentDisposition = "attachment";
                    context.Response.ContentLength = content.Length;
                    await content.CopyToAsync(context.Response.Body, context.RequestAborted);
                }
            }
        );
        app.MapPut(
            "/files/{entity}/{project}/{run}/{**name}",
            async (string entity, string project, string run, string name, HttpContext context) =>
            {
                if (Find(store, entity, project, run) is not { } found)
                {
                    await NotFoundAsync(context);
                    return;
                }

                await using var temporary = new FileStream(
                    Path.GetTempFileName(),
                    FileMode.Create,
                    FileAccess.ReadWrite,
                    FileShare.None,
                    1 << 16,
                    FileOptions.DeleteOnClose
                );
                await context.Request.Body.CopyToAsync(temporary, context.RequestAborted);
                temporary.Position = 0;
                store.SaveFile(found.Key, name, temporary);
            }
        );
        ArtifactSchema.Map(app, store);
        app.MapPost("/queues/push", (HttpContext context) => QueueSchema.PushBatchAsync(store, context));
        app.MapGet("/queues/wait", (HttpContext context) => WaitAsync(app, store, context));
        app.MapPost("/shutdown", (IHostApplicationLifetime life) => life.StopApplication());
        app.MapGet(
            "/{**any}",
            async context =>
            {
                context.Response.ContentType = "text/html; charset=utf-8";
                context.Response.Headers.ContentSecurityPolicy = "default-src 'self' 'unsafe-inline'";
                await using var page = typeof(LaunchServer).Assembly.GetManifestResourceStream("page.html")!;
                await page.CopyToAsync(context.Response.Body, context.RequestAborted);
            }
        );
    }

    /// <summary>Answers when one of the queues has an item, or the time is over: an agent that waits here starts a run the moment that it comes.</summary>
    private static async Task WaitAsync(WebApplication app, Store store, HttpContext context)
    {
        var queues = context.Request.Query["queue"].Select(Store.Id).Where(q => q >= 0).Distinct().ToArray();
        var seconds = Math.Clamp(
            double.TryParse(
                context.Request.Query["timeout"],
                System.Globalization.CultureInfo.InvariantCulture,
                out var wanted
            )
                ? wanted
                : 25,
            0,
            60
        );
        var waiter = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using var registration = store.Signals.Register(queues, waiter);
        var there = store.AnyWaiting(queues);
        if (!there)
        {
            using var end = CancellationTokenSource.CreateLinkedTokenSource(
                context.RequestAborted,
                app.Lifetime.ApplicationStopping
            );
            end.CancelAfter(TimeSpan.FromSeconds(seconds));
            try
            {
                await waiter.Task.WaitAsync(end.Token);
                there = true;
            }
            catch (OperationCanceledException)
            {
                // Nothing came.
            }
        }

        await context.Response.WriteAsJsonAsync(new { ready = there });
    }

    private static async Task StreamAsync(Store store, string entity, string project, string run, HttpContext context)
    {
        if (Find(store, entity, project, run) is not { } found)
        {
            await NotFoundAsync(context);
            return;
        }

        using var document = await JsonDocument.ParseAsync(context.Request.Body, default, context.RequestAborted);
        var root = document.RootElement;
        if (root.TryGetProperty("files", out var files) && files.ValueKind == JsonValueKind.Object)
        {
            foreach (var file in files.EnumerateObject())
            {
                var lines = file
                    .Value.GetProperty("content")
                    .EnumerateArray()
                    .Select(l => l.GetString() ?? "")
                    .ToList();
                var offset = file.Value.TryGetProperty("offset", out var at) ? at.GetInt64() : 0;
                switch (file.Name)
                {
                    case "wandb-history.jsonl":
                        store.AppendLines(found.Key, "history", offset, lines);
                        break;
                    case "output.log":
                        store.AppendLines(found.Key, "console", offset, lines);
                        break;
                    case "wandb-summary.json" when lines.Count > 0:
                        store.SetRun(found.Key, "summary", lines[^1]);
                        break;
                }
            }
        }

        if (root.TryGetProperty("preempting", out var preempting) && preempting.ValueKind == JsonValueKind.True)
        {
            store.SetRun(found.Key, "state", "preempting");
        }

        if (root.TryGetProperty("complete", out var complete) && complete.ValueKind == JsonValueKind.True)
        {
            var code = root.TryGetProperty("exitcode", out var exit) && exit.TryGetInt32(out var number) ? number : 0;
            store.SetRun(found.Key, "exit_code", code);
            // A run that said it would be preempted and then failed was preempted (the SDK's mark_preempting).
            store.SetRun(
                found.Key,
                "state",
                code == 0 ? "finished"
                    : (string)found["state"]! == "preempting" ? "preempted"
                    : "failed"
            );
            var console = store.Lines(found.Key, "console", 0, long.MaxValue);
            if (console.Count > 0)
            {
                await using var temporary = new FileStream(
                    Path.GetTempFileName(),
                    FileMode.Create,
                    FileAccess.ReadWrite,
                    FileShare.None,
                    1 << 16,
                    FileOptions.DeleteOnClose
                );
                await temporary.WriteAsync(Encoding.UTF8.GetBytes(string.Concat(console)));
                temporary.Position = 0;
                store.SaveFile(found.Key, "output.log", temporary);
            }
        }

        store.SetRun(found.Key, "heartbeat_at", Store.Now);
        await context.Response.WriteAsJsonAsync(new { exitcode = (int?)null, limits = new { } });
    }

    private static Row? Find(Store store, string entity, string project, string run) =>
        store.Project(entity, project) is { } found ? store.Run(found, run) : null;

    private static Task NotFoundAsync(HttpContext context)
    {
        context.Response.StatusCode = 404;
        return context.Response.WriteAsJsonAsync(new { error = "not found" });
    }

    private static bool IsAllowed(string header, byte[] key)
    {
        byte[] given;
        try
        {
            given =
                header.StartsWith("Basic ", StringComparison.OrdinalIgnoreCase) ? Convert.FromBase64String(header[6..])
                : header.StartsWith("Bearer ", StringComparison.OrdinalIgnoreCase)
                    ? Encoding.UTF8.GetBytes(":" + header[7..])
                : [];
        }
        catch (FormatException)
        {
            return false;
        }

        var colon = Array.IndexOf(given, (byte)':');
        return colon >= 0 && CryptographicOperations.FixedTimeEquals(given.AsSpan(colon + 1), key);
    }
}
