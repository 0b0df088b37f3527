using System.Net.Sockets;

namespace WandbLaunch.Foundation;

/// <summary>
/// Says every fault of a connection as HttpClient says most of them. One that is closed by the other side right after it
/// was made comes out of the runtime as a bare SocketException (ENOTCONN), which nobody who sends a request expects.
/// </summary>
internal sealed class SocketFaultHandler(HttpMessageHandler inner) : DelegatingHandler(inner)
{
    protected override async Task<HttpResponseMessage> SendAsync(
        HttpRequestMessage request,
        CancellationToken cancellationToken
    )
    {
        try
        {
            return await base.SendAsync(request, cancellationToken);
        }
        catch (SocketException e)
        {
            throw new HttpRequestException(e.Message, e);
        }
    }
}
