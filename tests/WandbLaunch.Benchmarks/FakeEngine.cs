using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Text;
using System.Text.RegularExpressions;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace WandbLaunch.Benchmarks;

/// <summary>As much of the Docker Engine's API as the module uses, on a unix socket: its containers print a line and run until they are removed. A thousand real ones are more than a machine that measures has room for.</summary>
internal sealed partial class FakeEngine : IAsyncDisposable
{
    private readonly ConcurrentDictionary<string, Container> _containers = new(StringComparer.Ordinal);
    private readonly TaskCompletionSource _over = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly WebApplication _app;

    internal FakeEngine(string path)
    {
        Address = "unix://" + path;
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(k => k.ListenUnixSocket(path));
        _app = builder.Build();
        _app.Run(AnswerAsync);
    }

    internal string Address { get; }

    internal int Running => _containers.Values.Count(c => c.Runs);

    internal int Readers => _readers;

    private int _readers;

    internal Task StartAsync() => _app.StartAsync();

    public async ValueTask DisposeAsync()
    {
        _over.TrySetResult();
        await _app.DisposeAsync();
    }

    private async Task AnswerAsync(HttpContext http)
    {
        var path = Version().Replace(http.Request.Path.Value!, "");
        var words = path.Trim('/').Split('/');
        var id = words.Length > 1 ? words[1] : "";
        var known = _containers.Values.FirstOrDefault(c => c.Id == id || c.Name == id);
        switch (http.Request.Method, words)
        {
            case (_, ["version"]):
                await http.Response.WriteAsJsonAsync(new { ApiVersion = "1.41", Version = "20.10.0" });
                break;
            case (_, ["_ping"]):
                await http.Response.WriteAsync("OK");
                break;
            case (_, ["images", ..]):
                await http.Response.WriteAsJsonAsync(new { Id = "sha256:" + new string('0', 64) });
                break;
            case (_, ["events"]):
                await http.Response.StartAsync();
                await http.Response.Body.FlushAsync();
                await Task.WhenAny(_over.Task, Task.Delay(Timeout.Infinite, http.RequestAborted));
                break;
            case ("GET", ["containers", "json"]):
                await http.Response.WriteAsJsonAsync(
                    _containers
                        .Values.Where(c => c.Runs)
                        .Select(c => new
                        {
                            c.Id,
                            Names = new[] { "/" + c.Name },
                            Image = "fake",
                            ImageID = "sha256:" + new string('0', 64),
                            Command = "train",
                            Created = 1,
                            State = "running",
                            Status = "Up 2 hours",
                            Ports = Array.Empty<object>(),
                            c.Labels,
                            HostConfig = new { NetworkMode = "default" },
                            NetworkSettings = new { Networks = new { } },
                            Mounts = Array.Empty<object>(),
                        }),
                    Json
                );
                break;
            case ("POST", ["containers", "create"]):
                using (var body = await System.Text.Json.JsonDocument.ParseAsync(http.Request.Body))
                {
                    var made = new Container(
                        Guid.NewGuid().ToString("n") + Guid.NewGuid().ToString("n"),
                        http.Request.Query["name"].ToString(),
                        body.RootElement.GetProperty("Labels")
                            .EnumerateObject()
                            .ToDictionary(p => p.Name, p => p.Value.ToString())
                    );
                    _containers[made.Id] = made;
                    http.Response.StatusCode = 201;
                    await http.Response.WriteAsJsonAsync(new { made.Id, Warnings = Array.Empty<string>() }, Json);
                }

                break;
            case (_, ["containers", ..]) when known is null:
                http.Response.StatusCode = 404;
                await http.Response.WriteAsJsonAsync(new { message = "No such container: " + id });
                break;
            case ("GET", ["containers", _, "json"]):
                await http.Response.WriteAsJsonAsync(
                    new
                    {
                        known!.Id,
                        Path = "train",
                        State = new
                        {
                            Status = known.Runs ? "running" : "created",
                            Running = known.Runs,
                            ExitCode = 0,
                        },
                        Config = new { Image = "fake", known.Labels },
                    },
                    Json
                );
                break;
            case ("PUT", ["containers", _, "archive"]):
                await http.Request.Body.CopyToAsync(System.IO.Stream.Null);
                break;
            case ("POST", ["containers", _, "start"]):
                known!.Runs = true;
                http.Response.StatusCode = 204;
                break;
            case ("GET", ["containers", _, "logs"]):
                Interlocked.Increment(ref _readers);
                await http.Response.Body.WriteAsync(
                    Frame($"2026-01-01T00:00:00.000000001Z epoch 1 of {known!.Name}\n")
                );
                await http.Response.Body.FlushAsync();
                await Task.WhenAny(_over.Task, Task.Delay(Timeout.Infinite, http.RequestAborted));
                Interlocked.Decrement(ref _readers);
                break;
            default:
                http.Response.StatusCode = 204;
                break;
        }
    }

    private static readonly System.Text.Json.JsonSerializerOptions Json = new();

    private static byte[] Frame(string text)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        var frame = new byte[8 + bytes.Length];
        frame[0] = 1;
        BinaryPrimitives.WriteInt32BigEndian(frame.AsSpan(4), bytes.Length);
        bytes.CopyTo(frame, 8);
        return frame;
    }

    [GeneratedRegex(@"^/v\d+\.\d+")]
    private static partial Regex Version();

    private sealed record Container(string Id, string Name, Dictionary<string, string> Labels)
    {
        internal bool Runs { get; set; }
    }
}
