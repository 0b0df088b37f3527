using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using WandbLaunch.Foundation;
using WandbLaunch.Wandb;

namespace WandbLaunch.Tests;

/// <summary>The built server in a process of its own, which can be measured and killed.</summary>
internal sealed class FileServer : IDisposable
{
    private readonly Process _process;
    private bool _disposed;

    internal FileServer(string path, int port = 0)
    {
        var start = new ProcessStartInfo("dotnet")
        {
            RedirectStandardOutput = true,
            ArgumentList =
            {
                Path.Combine(Fixture.Module, "server", "WandbLaunch.Server.dll"),
                "--path",
                path,
                "--port",
                port.ToString(CultureInfo.InvariantCulture),
            },
            Environment = { ["WANDBLAUNCH_SERVER_KEY"] = Fixture.Key },
        };
        _process = Process.Start(start)!;
        var line = _process.StandardOutput.ReadLine();
        while (line?.StartsWith("note ", StringComparison.Ordinal) == true)
        {
            Notes.Add(line["note ".Length..]);
            line = _process.StandardOutput.ReadLine();
        }

        Assert.StartsWith("listening ", line, StringComparison.Ordinal);
        Url = line!["listening ".Length..];
    }

    internal string Url { get; }

    /// <summary>What it said before it listened.</summary>
    internal List<string> Notes { get; } = [];

    internal int Port => new Uri(Url).Port;

    internal long PeakMemory => Memory(_process.Id.ToString(CultureInfo.InvariantCulture), "VmHWM");

    internal static long Memory(string process, string field) =>
        1024
        * long.Parse(
            File.ReadLines($"/proc/{process}/status")
                .First(l => l.StartsWith(field + ":", StringComparison.Ordinal))
                .Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)[1],
            CultureInfo.InvariantCulture
        );

    internal void ForgetPeak() => File.WriteAllText($"/proc/{_process.Id}/clear_refs", "5");

    /// <summary>SIGKILL.</summary>
    internal void Kill()
    {
        _process.Kill();
        _process.WaitForExit();
    }

    internal static Task<WandbConnection> ConnectAsync(string url) =>
        WandbConnection.OpenAsync(
            WandbSettings.Resolve(new LaunchEnvironment(), Fixture.Root, url, Fixture.Key),
            null,
            default
        );

    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        if (!_process.HasExited)
        {
            Kill();
        }

        _process.Dispose();
    }
}

/// <summary>Content of any length that is never anywhere whole, and differs in every megabyte.</summary>
internal sealed class Pattern(long length, int seed) : Stream
{
    private const int Block = 1 << 20;
    private readonly byte[] _block = Make(seed);

    /// <summary>Bytes a second, or as fast as may be.</summary>
    internal long? Rate { get; init; }

    public override bool CanRead => true;
    public override bool CanSeek => true;
    public override bool CanWrite => false;
    public override long Length => length;
    public override long Position { get; set; }

    public override int Read(Span<byte> buffer)
    {
        var place = (int)(Position % Block);
        var count = (int)Math.Min(Math.Min(buffer.Length, Block - place), length - Position);
        if (count <= 0)
        {
            return 0;
        }

        BitConverter.TryWriteBytes(_block, (Position / Block) ^ seed);
        _block.AsSpan(place, count).CopyTo(buffer);
        Position += count;
        return count;
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var count = Read(buffer.Span);
        if (Rate is { } rate)
        {
            await Task.Delay(TimeSpan.FromSeconds((double)count / rate), cancellationToken);
        }

        return count;
    }

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    public override long Seek(long offset, SeekOrigin origin) =>
        Position = origin switch
        {
            SeekOrigin.Begin => offset,
            SeekOrigin.Current => Position + offset,
            _ => length + offset,
        };

    public override void Flush() { }

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    private static byte[] Make(int seed)
    {
        var block = new byte[Block];
        new Random(seed).NextBytes(block);
        return block;
    }
}

/// <summary>A line to a server that breaks: connections are cut when so many bytes have passed, as often as is said.</summary>
internal sealed class BreakingLine : IDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly int _target;
    private readonly long _cutAfter;
    private int _cutsLeft;
    private long _passed;

    internal BreakingLine(string url, long cutAfter, int cuts)
    {
        _target = new Uri(url).Port;
        _cutAfter = cutAfter;
        _cutsLeft = cuts;
        _listener.Start();
        _ = AcceptAsync();
    }

    internal string Url => $"http://127.0.0.1:{((IPEndPoint)_listener.LocalEndpoint).Port}";
    internal long Passed => Interlocked.Read(ref _passed);
    internal int CutsLeft => Volatile.Read(ref _cutsLeft);

    public void Dispose() => _listener.Stop();

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                _ = CarryAsync(await _listener.AcceptTcpClientAsync());
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException or InvalidOperationException)
        {
            // Stopped.
        }
    }

    private async Task CarryAsync(TcpClient client)
    {
        using var server = new TcpClient();
        using (client)
        {
            try
            {
                await server.ConnectAsync(IPAddress.Loopback, _target);
                var carried = 0L;
                await Task.WhenAny(
                    CopyAsync(client.GetStream(), server.GetStream()),
                    CopyAsync(server.GetStream(), client.GetStream())
                );

                async Task CopyAsync(NetworkStream from, NetworkStream to)
                {
                    var block = new byte[1 << 16];
                    int read;
                    while ((read = await from.ReadAsync(block)) > 0)
                    {
                        await to.WriteAsync(block.AsMemory(0, read));
                        Interlocked.Add(ref _passed, read);
                        if (Interlocked.Add(ref carried, read) > _cutAfter && Interlocked.Decrement(ref _cutsLeft) >= 0)
                        {
                            // A reset, as a broken line gives, after what was sent has arrived.
                            await Task.Delay(200);
                            client.Client.LingerState = server.Client.LingerState = new LingerOption(true, 0);
                            return;
                        }
                    }
                }
            }
            catch (IOException)
            {
                // One end is gone, so is the other.
            }
            catch (SocketException)
            {
                // The server is not there now.
            }
        }
    }
}

/// <summary>Requests as an attacker writes them.</summary>
internal static class RawHttp
{
    internal static string Head(string method, string path, string url, params string[] headers) =>
        $"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{new Uri(url).Port}\r\nAuthorization: Basic {Convert.ToBase64String(Encoding.UTF8.GetBytes("api:" + Fixture.Key))}\r\nConnection: close\r\n{string.Concat(headers.Select(h => h + "\r\n"))}\r\n";

    /// <summary>Sends, and gives status, headers and body of the answer.</summary>
    internal static async Task<(int Status, string Head, byte[] Body)> SendAsync(
        string url,
        string head,
        byte[]? body = null
    )
    {
        using var client = new TcpClient();
        await client.ConnectAsync(IPAddress.Loopback, new Uri(url).Port);
        var stream = client.GetStream();
        await stream.WriteAsync(Encoding.Latin1.GetBytes(head));
        try
        {
            await stream.WriteAsync(body ?? []);
        }
        catch (IOException)
        {
            // Refused before all was sent: the answer is there.
        }

        using var all = new MemoryStream();
        try
        {
            await stream.CopyToAsync(all);
        }
        catch (IOException)
        {
            // Reset after the answer.
        }

        var bytes = all.ToArray();
        var end = bytes.AsSpan().IndexOf("\r\n\r\n"u8);
        Assert.True(end > 0, "no answer");
        var answer = Encoding.Latin1.GetString(bytes, 0, end);
        var content = bytes[(end + 4)..];
        return (
            int.Parse(answer.Split(' ')[1], CultureInfo.InvariantCulture),
            answer,
            Header(answer, "Transfer-Encoding") == "chunked" ? Unchunked(content) : content
        );
    }

    private static byte[] Unchunked(byte[] content)
    {
        using var whole = new MemoryStream();
        for (var place = 0; place < content.Length; )
        {
            var line = place + content.AsSpan(place).IndexOf("\r\n"u8);
            var length = Convert.ToInt32(Encoding.ASCII.GetString(content, place, line - place), 16);
            whole.Write(content, line + 2, length);
            place = line + 2 + length + 2;
        }

        return whole.ToArray();
    }

    /// <summary>Sends the head and a part of the body, and is gone.</summary>
    internal static async Task SendAndLeaveAsync(string url, string head, byte[] part)
    {
        using var client = new TcpClient();
        await client.ConnectAsync(IPAddress.Loopback, new Uri(url).Port);
        var stream = client.GetStream();
        await stream.WriteAsync(Encoding.Latin1.GetBytes(head));
        await stream.WriteAsync(part);

        // What was sent is to arrive; then the line breaks.
        await Task.Delay(300);
        client.Client.LingerState = new LingerOption(true, 0);
    }

    internal static string? Header(string head, string name) =>
        head.Split("\r\n")
            .FirstOrDefault(l => l.StartsWith(name + ":", StringComparison.OrdinalIgnoreCase))
            ?[(name.Length + 1)..].Trim();
}
