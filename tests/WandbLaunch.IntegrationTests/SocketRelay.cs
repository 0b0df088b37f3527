using System.Collections.Concurrent;
using System.Net.Sockets;

namespace WandbLaunch.IntegrationTests;

/// <summary>A unix socket in front of another that can be cut and mended: an engine that goes away while its containers live on.</summary>
internal sealed class SocketRelay : IDisposable
{
    private readonly string _target;
    private readonly string _path = Path.Combine(Machine.Root, $"relay-{Guid.NewGuid():n}"[..14] + ".sock");
    private readonly ConcurrentBag<Socket> _open = [];
    private Socket? _listener;

    public SocketRelay(string target)
    {
        _target = target;
        Mend();
    }

    public string Address => "unix://" + _path;

    public void Mend()
    {
        var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(_path));
        listener.Listen();
        _listener = listener;
        _ = Task.Run(async () =>
        {
            try
            {
                while (true)
                {
                    var client = await listener.AcceptAsync();
                    var server = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                    await server.ConnectAsync(new UnixDomainSocketEndPoint(_target));
                    _open.Add(client);
                    _open.Add(server);
                    _ = PumpAsync(client, server);
                    _ = PumpAsync(server, client);
                }
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                // Cut.
            }
        });
    }

    public void Cut()
    {
        _listener?.Dispose();
        File.Delete(_path);
        while (_open.TryTake(out var socket))
        {
            socket.Dispose();
        }
    }

    public void Dispose() => Cut();

    private static async Task PumpAsync(Socket from, Socket to)
    {
        var buffer = new byte[65536];
        try
        {
            int read;
            while ((read = await from.ReceiveAsync(buffer)) > 0)
            {
                await to.SendAsync(buffer.AsMemory(0, read));
            }

            to.Shutdown(SocketShutdown.Send);
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // Cut.
        }
    }
}
