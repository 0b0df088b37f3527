using System.Net.Sockets;
using System.Security.Authentication;
using System.Text;
using System.Text.Json;
using WandbLaunch.Foundation;

namespace WandbLaunch.Wandb;

/// <summary>What a server's refusals and the network's failures mean, in errors that say what to do.</summary>
internal sealed class ServerFaults(string baseUrl)
{
    internal LaunchException Explain(HttpRequestException e)
    {
        var (id, advice) = e.HttpRequestError switch
        {
            HttpRequestError.NameResolutionError => (
                "HostNotFound",
                "The host name is not known. Check the address (-BaseUrl, WANDB_BASE_URL) and the network."
            ),
            HttpRequestError.SecureConnectionError => (
                "TlsFailed",
                "The certificate was not accepted. Add the server's certificate authority to the machine's trust store (on Linux SSL_CERT_FILE), or check the clock."
            ),
            HttpRequestError.ProxyTunnelError => (
                "ProxyFailed",
                "The proxy refused. Check HTTPS_PROXY, NO_PROXY and WANDB__PROXIES."
            ),
            _ when e.InnerException is AuthenticationException => (
                "TlsFailed",
                "The certificate was not accepted. Add the server's certificate authority to the machine's trust store (on Linux SSL_CERT_FILE), or check the clock."
            ),
            _ when e.InnerException is SocketException => (
                "HostUnreachable",
                "Nothing answers there. Is the server running, the port right, a firewall or proxy between?"
            ),
            _ => ("ConnectionFailed", "Try again; if it stays, check the network and the proxy settings."),
        };
        var detail = e.InnerException is AuthenticationException or SocketException
            ? e.InnerException.Message
            : e.Message;
        return new LaunchException(
            id,
            LaunchErrorCategory.ConnectionError,
            $"Cannot reach {baseUrl}: {detail}. {advice}",
            baseUrl,
            e
        );
    }

    internal static bool IsRedirect(HttpResponseMessage response) =>
        (int)response.StatusCode is 301 or 302 or 303 or 307 or 308;

    internal LaunchException Redirected(string what, Uri? target) =>
        new(
            "ServerRedirects",
            LaunchErrorCategory.SecurityError,
            $"{baseUrl} sends {what} on to {(target is null ? "elsewhere" : target.GetLeftPart(UriPartial.Authority))}, which is not followed: the API key is for {baseUrl} alone. If the other address is right, give it with Connect-Wandb -BaseUrl.",
            what
        );

    internal static async Task EnsureSuccessAsync(HttpResponseMessage response, string what, CancellationToken token)
    {
        if (response.IsSuccessStatusCode)
        {
            return;
        }

        var status = (int)response.StatusCode;
        var after = response.Headers.RetryAfter?.Delta;
        var text = await ErrorBodyAsync(response, token);
        response.Dispose();
        var detail = "";
        try
        {
            using var document = JsonDocument.Parse(text);
            detail = ErrorText(document.RootElement);
        }
        catch (JsonException)
        {
            detail = text.Length > 200 ? text[..200] : text;
        }

        throw status switch
        {
            401 => new LaunchException(
                "ApiKeyRejected",
                LaunchErrorCategory.AuthenticationError,
                "The server does not accept this API key. Give the right one with Connect-Wandb -ApiKey, or check WANDB_API_KEY and the netrc entry of this host.",
                what
            )
            {
                StatusCode = status,
            },
            403 or 404 => new LaunchException(
                "AccessDenied",
                LaunchErrorCategory.PermissionDenied,
                $"The server denies access to {what} (HTTP {status}: {detail}). Check the entity and project names and that this key may see them.",
                what
            )
            {
                StatusCode = status,
            },
            422 when detail.Length > 0 && response.RequestMessage?.Method == HttpMethod.Put => new LaunchException(
                "FileDamaged",
                LaunchErrorCategory.InvalidData,
                $"The server did not take {what}: {detail} Did the file change while it was sent?",
                what
            )
            {
                StatusCode = status,
            },
            507 => new LaunchException(
                "ServerDiskFull",
                LaunchErrorCategory.ResourceUnavailable,
                $"The server did not take {what}: {detail}",
                what
            )
            {
                StatusCode = status,
            },
            429 => new LaunchException(
                "RateLimited",
                LaunchErrorCategory.ResourceUnavailable,
                $"The server is still limiting the rate after all tries (HTTP 429: {detail}). Wait a few minutes.",
                what
            )
            {
                StatusCode = status,
                RetryAfter = after,
            },
            _ => new LaunchException(
                "ServerError",
                LaunchErrorCategory.ConnectionError,
                $"The server failed at {what} (HTTP {status}: {detail}). Try again later; the server's log says more.",
                what
            )
            {
                StatusCode = status,
                RetryAfter = after,
            },
        };
    }

    internal static string ErrorText(JsonElement root)
    {
        static string One(JsonElement e) =>
            e.ValueKind switch
            {
                JsonValueKind.String => e.GetString()!,
                JsonValueKind.Object when e.TryGetProperty("message", out var message) => message.ToString(),
                _ => e.ToString(),
            };

        if (root.ValueKind == JsonValueKind.Object)
        {
            if (root.TryGetProperty("errors", out var errors) && errors.ValueKind == JsonValueKind.Array)
            {
                return string.Join("; ", errors.EnumerateArray().Select(One));
            }

            if (root.TryGetProperty("error", out var error) || root.TryGetProperty("message", out error))
            {
                return One(error);
            }
        }

        return root.ToString();
    }

    // An error's text is for a person; a server may send anything.
    internal static async Task<string> ErrorBodyAsync(HttpResponseMessage response, CancellationToken token)
    {
        var bytes = new byte[64 << 10];
        var stream = await response.Content.ReadAsStreamAsync(token);
        await using (stream)
        {
            var count = 0;
            try
            {
                count = await stream.ReadAtLeastAsync(bytes, bytes.Length, false, token);
            }
            catch (IOException)
            {
                // The status says enough.
            }

            return Encoding.UTF8.GetString(bytes, 0, count);
        }
    }
}
