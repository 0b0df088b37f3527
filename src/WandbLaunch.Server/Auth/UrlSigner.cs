using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.Http.Extensions;

namespace WandbLaunch.Server.Auth;

/// <summary>Addresses of files that need no key: each is good for one method and path until its time is over.</summary>
internal sealed class UrlSigner(ServerKey key)
{
    internal string Sign(string method, string path, DateTimeOffset until)
    {
        var expires = until.ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture);
        return $"expires={expires}&signature={Convert.ToHexString(Signature(method, path, expires))}";
    }

    internal bool Verify(HttpRequest request)
    {
        if (
            request.Query["expires"].ToString() is not { Length: > 0 } expires
            || !long.TryParse(expires, NumberStyles.None, CultureInfo.InvariantCulture, out var until)
            || DateTimeOffset.UtcNow.ToUnixTimeSeconds() > until
        )
        {
            return false;
        }

        try
        {
            // The path as it was sent: what is signed is the escaped form.
            var path = new Uri(request.GetEncodedUrl()).AbsolutePath;
            return CryptographicOperations.FixedTimeEquals(
                Convert.FromHexString(request.Query["signature"].ToString()),
                Signature(request.Method, path, expires)
            );
        }
        catch (FormatException)
        {
            return false;
        }
    }

    private byte[] Signature(string method, string path, string expires) =>
        HMACSHA256.HashData(
            key.Bytes,
            Encoding.UTF8.GetBytes($"file\n{method}\n{Uri.UnescapeDataString(path)}\n{expires}")
        );
}
