using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.Http.Extensions;

namespace WandbLaunch.Server.Auth;

/// <summary>Addresses of files that need no key: each is good for one method and path until its time is over.</summary>
internal sealed class UrlSigner(ServerKey key)
{
    /// <summary>Signs an address for a user (<see cref="Caller.Pass"/>): it does what the user may do there, and ends with the user and with the user's key. Empty is the server's own key.</summary>
    internal string Sign(string method, string path, DateTimeOffset until, string by = "")
    {
        var expires = until.ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture);
        var signature = Convert.ToHexString(Signature(method, path, expires, by));
        return by.Length == 0
            ? $"expires={expires}&signature={signature}"
            : $"expires={expires}&user={by}&signature={signature}";
    }

    /// <summary>For whom the address was signed; null where it was not.</summary>
    internal string? Verify(HttpRequest request)
    {
        if (
            request.Query["expires"].ToString() is not { Length: > 0 } expires
            || !long.TryParse(expires, NumberStyles.None, CultureInfo.InvariantCulture, out var until)
            || DateTimeOffset.UtcNow.ToUnixTimeSeconds() > until
        )
        {
            return null;
        }

        try
        {
            var by = request.Query["user"].ToString();

            // The path as it was sent: what is signed is the escaped form.
            var path = new Uri(request.GetEncodedUrl()).AbsolutePath;
            return CryptographicOperations.FixedTimeEquals(
                Convert.FromHexString(request.Query["signature"].ToString()),
                Signature(request.Method, path, expires, by)
            )
                ? by
                : null;
        }
        catch (FormatException)
        {
            return null;
        }
    }

    private byte[] Signature(string method, string path, string expires, string by) =>
        HMACSHA256.HashData(
            key.Bytes,
            Encoding.UTF8.GetBytes(
                $"file\n{method}\n{Uri.UnescapeDataString(path)}\n{expires}{(by.Length == 0 ? "" : "\n" + by)}"
            )
        );
}
