using System.Globalization;
using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace WandbLaunch.Server.Auth;

/// <summary>Where a server's certificate is: one PFX file, or PEM with the chain, whose key is in it or in a file of its own.</summary>
internal sealed record CertificatePaths(string Certificate, string? Key, string? Password);

/// <summary>
/// The server's certificate, as its file has it: one that is renewed in its place is the next connection's, without a new
/// start. Where the new one cannot be read, perhaps because only half of it is there yet, the old one goes on.
/// </summary>
internal sealed partial class CertificateFile
{
    private static readonly TimeSpan Between = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan Soon = TimeSpan.FromDays(14);

    private readonly CertificatePaths _paths;
    private readonly TimeProvider _time;
    private readonly object _lock = new();
    private SslStreamCertificateContext _context;
    private (DateTime, long, DateTime, long) _stamp;
    private long _looked;

    /// <summary>Reads it for the first time.</summary>
    /// <exception cref="StartFault">It cannot be used.</exception>
    internal CertificateFile(CertificatePaths paths, TimeProvider time)
    {
        _paths = paths;
        _time = time;
        _stamp = Stamp();
        _looked = time.GetTimestamp();
        try
        {
            _context = Read();
        }
        catch (Exception e)
            when (e is CryptographicException or IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new StartFault(
                StartFault.Certificate,
                $"The certificate {paths.Certificate} cannot be used: {e.Message.ReplaceLineEndings(" ").Trim()} It is a PFX file, or PEM with the certificate first; the key is in it, or in the file of its own that is named."
            );
        }
    }

    /// <summary>Hears of a new one that cannot be read.</summary>
    internal ILogger? Log { get; set; }

    /// <summary>What whoever starts the server should know of it.</summary>
    internal string? Warning
    {
        get
        {
            var left = _context.TargetCertificate.NotAfter.ToUniversalTime() - _time.GetUtcNow().UtcDateTime;
            return left > Soon ? null
                : left < TimeSpan.Zero
                    ? $"The certificate {_paths.Certificate} is over: clients will refuse it. Put a new one in its place."
                : string.Create(
                    CultureInfo.InvariantCulture,
                    $"The certificate {_paths.Certificate} is good for {left.TotalDays:0} days more. A new one in its place is taken without a new start."
                );
        }
    }

    /// <summary>The one for a connection that begins now.</summary>
    internal SslStreamCertificateContext Current
    {
        get
        {
            lock (_lock)
            {
                if (_time.GetElapsedTime(_looked) >= Between)
                {
                    _looked = _time.GetTimestamp();
                    Look();
                }

                return _context;
            }
        }
    }

    private void Look()
    {
        try
        {
            var stamp = Stamp();
            if (stamp != _stamp)
            {
                _context = Read();
                _stamp = stamp;
            }
        }
        catch (Exception e)
            when (e is CryptographicException or IOException or UnauthorizedAccessException or ArgumentException)
        {
            // Its stamp stays the old one, so that it is read again.
            if (Log is { } log)
            {
                NotRead(log, _paths.Certificate, e);
            }
        }
    }

    private (DateTime, long, DateTime, long) Stamp()
    {
        var (certificate, key) = (Real(_paths.Certificate), _paths.Key is null ? null : Real(_paths.Key));
        return (
            certificate.LastWriteTimeUtc,
            certificate.Exists ? certificate.Length : -1,
            key?.LastWriteTimeUtc ?? default,
            key is { Exists: true } ? key.Length : -1
        );
    }

    // A link has a time and a length of its own, and what is renewed may be behind one: mounted secrets are.
    private static FileInfo Real(string path)
    {
        var file = new FileInfo(path);
        try
        {
            return file.ResolveLinkTarget(true) as FileInfo ?? file;
        }
        catch (IOException)
        {
            // It is not there, which its reader says.
            return file;
        }
    }

    private SslStreamCertificateContext Read()
    {
        var all = new X509Certificate2Collection();
        X509Certificate2 own;
        if (IsPem(_paths.Certificate))
        {
            all.ImportFromPemFile(_paths.Certificate);
            var text = File.ReadAllText(_paths.Certificate);
            var keys = _paths.Key is null ? text : File.ReadAllText(_paths.Key);
            own =
                _paths.Password is { } password && keys.Contains("ENCRYPTED PRIVATE KEY", StringComparison.Ordinal)
                    ? X509Certificate2.CreateFromEncryptedPem(text, keys, password)
                    : X509Certificate2.CreateFromPem(text, keys);
            if (OperatingSystem.IsWindows())
            {
                // TLS there takes no key that is in memory alone.
                using var loaded = own;
                own = new X509Certificate2(loaded.Export(X509ContentType.Pfx));
            }
        }
        else
        {
            all.Import(_paths.Certificate, _paths.Password, X509KeyStorageFlags.DefaultKeySet);
            own =
                all.FirstOrDefault(c => c.HasPrivateKey) ?? throw new CryptographicException("It has no private key.");
        }

        all.RemoveRange(all.Where(c => c.Thumbprint == own.Thumbprint).ToArray());
        return SslStreamCertificateContext.Create(own, all, true);
    }

    private static bool IsPem(string path)
    {
        using var reader = new StreamReader(path);
        var start = new char[64 << 10];
        return new string(start, 0, reader.ReadBlock(start)).Contains("-----BEGIN ", StringComparison.Ordinal);
    }

    [LoggerMessage(50, LogLevel.Error, "The new certificate in {Path} cannot be used; the old one goes on.")]
    private static partial void NotRead(ILogger log, string path, Exception e);
}
