using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;

namespace WandbLaunch.Wandb;

/// <summary>A file that is still coming, beside the place where it will be.</summary>
// MD5 is W&B's checksum of a file, not a protection.
#pragma warning disable CA5351
internal sealed class PartialDownload : IDisposable
{
    private readonly string _path;
    private readonly FileStream _file;
    private IncrementalHash _md5 = IncrementalHash.CreateHash(HashAlgorithmName.MD5);
    private long _hashed;

    private PartialDownload(string path, FileStream file, bool hasDigest)
    {
        _path = path;
        _file = file;
        HasDigest = hasDigest;
        Resumable = hasDigest;
    }

    internal long Length => _file.Length;

    /// <summary>The end can be checked, so whatever is here may be gone on with.</summary>
    internal bool HasDigest { get; }

    internal bool Resumable { get; set; }

    internal EntityTagHeaderValue? Tag { get; set; }

    /// <summary>What came stays on disk for another time.</summary>
    internal bool Keep { get; set; }

    /// <summary>One name for one content of one file, so that the next download finds it; a name of its own when there is no MD5, or another shell downloads it now.</summary>
    internal static PartialDownload Open(string target, string? md5)
    {
        var folder = Path.GetDirectoryName(Path.GetFullPath(target))!;
        string Named(string text) =>
            Path.Combine(
                folder,
                "."
                    + Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes(text)))[..24].ToLowerInvariant()
                    + ".part"
            );
        if (md5 is not null)
        {
            var path = Named(Path.GetFileName(target) + "\n" + md5);
            try
            {
                // A link under this name would be somebody else's doing.
                if (new FileInfo(path).LinkTarget is null)
                {
                    return new PartialDownload(path, OpenFile(path, FileMode.OpenOrCreate), true);
                }
            }
            catch (IOException)
            {
                // In use: this one downloads by itself.
            }
        }

        var own = Named(Guid.NewGuid().ToString());
        return new PartialDownload(own, OpenFile(own, FileMode.CreateNew), md5 is not null);
    }

    internal async ValueTask WriteAsync(ReadOnlyMemory<byte> block, CancellationToken token)
    {
        CatchUp();
        await _file.WriteAsync(block, token);
        _md5.AppendData(block.Span);
        _hashed += block.Length;
    }

    internal void Restart()
    {
        _file.SetLength(0);
        _md5.Dispose();
        _md5 = IncrementalHash.CreateHash(HashAlgorithmName.MD5);
        _hashed = 0;
    }

    internal string Digest()
    {
        CatchUp();
        return Convert.ToBase64String(_md5.GetCurrentHash());
    }

    internal void MoveTo(string target)
    {
        _file.Dispose();
        File.Move(_path, target, true);
        Keep = true;
    }

    public void Dispose()
    {
        _md5.Dispose();
        var empty = _file.CanRead && _file.Length == 0;
        _file.Dispose();
        if (!Keep || empty)
        {
            File.Delete(_path);
        }
    }

    private void CatchUp()
    {
        if (_hashed < _file.Length)
        {
            _file.Position = _hashed;
            var block = new byte[1 << 17];
            int read;
            while ((read = _file.Read(block)) > 0)
            {
                _md5.AppendData(block, 0, read);
                _hashed += read;
            }
        }

        _file.Position = _hashed;
    }

    private static FileStream OpenFile(string path, FileMode mode) =>
        new(path, mode, FileAccess.ReadWrite, FileShare.None, 0, FileOptions.Asynchronous);
}
