using System.Buffers.Binary;
using System.Text;
using Docker.DotNet;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using WandbLaunch.Resources;

namespace WandbLaunch.Tests;

/// <summary>Reading a container's log from any place on, against an engine that cuts connections.</summary>
public sealed class ContainerLogTests
{
    private sealed record Entry(RunStream Stream, long Time, string Text);

    // Times as an engine gives them: parts of a long line share one, the two streams come a little out of order, and one is silent for long.
    private static readonly Entry[] Log =
    [
        new(RunStream.Output, 100, "one\n"),
        new(RunStream.Error, 90, "error one\n"),
        new(RunStream.Output, 200, "a long "),
        new(RunStream.Output, 200, "line in "),
        new(RunStream.Error, 200, "error two\n"),
        new(RunStream.Output, 200, "parts ä\n"),
        new(RunStream.Output, 200, "same time\n"),
        new(RunStream.Output, 20_000_000_300, "twenty seconds later\n"),
        new(RunStream.Output, 20_000_000_300, "\n"),
        new(RunStream.Error, 19_999_999_000, "error late\n"),
        new(RunStream.Output, 40_000_000_000, "without an end"),
    ];

    [Fact]
    public async Task Every_byte_comes_once_wherever_the_reading_ended()
    {
        var engine = await Engine.StartAsync();
        await using (engine)
        {
            for (var cut = 0; cut <= Log.Length; cut++)
            {
                for (var again = cut; again <= Log.Length; again++)
                {
                    var sink = new Sink();
                    foreach (var there in new[] { cut, again, again, Log.Length })
                    {
                        engine.There = there;
                        await engine.ReadAsync(sink, false);
                    }

                    Assert.Equal(Whole(RunStream.Output), sink.Texts[0].ToString());
                    Assert.Equal(Whole(RunStream.Error), sink.Texts[1].ToString());
                }
            }
        }
    }

    [Fact]
    public async Task A_connection_that_is_cut_within_an_entry_costs_no_byte()
    {
        var engine = await Engine.StartAsync();
        await using (engine)
        {
            engine.There = Log.Length;
            engine.CutAfter = [30, 97, 150, 260];
            var sink = new Sink();
            await engine.ReadAsync(sink, true);
            Assert.Empty(engine.CutAfter);
            Assert.Equal(Whole(RunStream.Output), sink.Texts[0].ToString());
            Assert.Equal(Whole(RunStream.Error), sink.Texts[1].ToString());
        }
    }

    private static string Whole(RunStream stream) =>
        string.Concat(Log.Where(e => e.Stream == stream).Select(e => e.Text));

    private sealed class Sink : IRunLogSink
    {
        internal StringBuilder[] Texts { get; } = [new(), new()];

        internal string? Position { get; private set; }

        public void Output(RunStream stream, ReadOnlySpan<byte> bytes) =>
            Texts[(int)stream].Append(Encoding.UTF8.GetString(bytes));

        public void Reached(object position) => Position = position.ToString();
    }

    /// <summary>As much of an engine as a log needs; of entries before the time that is asked for it gives none, as old ones do.</summary>
    private sealed class Engine : IAsyncDisposable
    {
        private readonly WebApplication _app;
        private readonly DockerClient _client;

        private Engine(WebApplication app, string path)
        {
            _app = app;
            _client = new DockerClientConfiguration(new Uri("unix://" + path)).CreateClient();
        }

        internal int There { get; set; }

        internal List<int> CutAfter { get; set; } = [];

        internal static async Task<Engine> StartAsync()
        {
            Assert.SkipWhen(OperatingSystem.IsWindows(), "a unix socket");
            var path = Path.Combine(Fixture.NewFolder("engine"), "s");
            var builder = WebApplication.CreateSlimBuilder();
            builder.Logging.ClearProviders();
            builder.WebHost.ConfigureKestrel(k => k.ListenUnixSocket(path));
            var app = builder.Build();
            var engine = new Engine(app, path);
            app.Run(engine.AnswerAsync);
            await app.StartAsync();
            return engine;
        }

        internal Task ReadAsync(Sink sink, bool follow) =>
            new ContainerLog(_client, "c", sink, TimeSpan.FromSeconds(20), TimeProvider.System).ReadAsync(
                sink.Position,
                follow,
                default
            );

        public async ValueTask DisposeAsync()
        {
            _client.Dispose();
            await _app.DisposeAsync();
        }

        private async Task AnswerAsync(HttpContext http)
        {
            if (!http.Request.Path.Value!.EndsWith("/logs", StringComparison.Ordinal))
            {
                await http.Response.WriteAsJsonAsync(new { State = new { Running = false } });
                return;
            }

            var since = http.Request.Query["since"].ToString() is { Length: > 0 } text
                ? (long)(decimal.Parse(text, System.Globalization.CultureInfo.InvariantCulture) * 1_000_000_000)
                : 0;
            var bytes = Log.Take(There).Where(e => e.Time >= since).SelectMany(Frame).ToArray();
            if (CutAfter is [var cut, ..])
            {
                CutAfter.RemoveAt(0);
                await http.Response.Body.WriteAsync(bytes.AsMemory(0, Math.Min(cut, bytes.Length)));
                await http.Response.Body.FlushAsync();
                await Task.Delay(50);
                http.Abort();
                return;
            }

            await http.Response.Body.WriteAsync(bytes);
        }

        private static byte[] Frame(Entry entry)
        {
            var time = DateTime.UnixEpoch.AddSeconds(entry.Time / 1_000_000_000);
            var text = Encoding.UTF8.GetBytes(
                $"{time:yyyy-MM-ddTHH:mm:ss}.{entry.Time % 1_000_000_000:D9}Z {entry.Text}"
            );
            var frame = new byte[8 + text.Length];
            frame[0] = (byte)(entry.Stream == RunStream.Error ? 2 : 1);
            BinaryPrimitives.WriteInt32BigEndian(frame.AsSpan(4), text.Length);
            text.CopyTo(frame, 8);
            return frame;
        }
    }
}
