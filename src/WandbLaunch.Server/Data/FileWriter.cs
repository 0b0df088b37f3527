using System.Security.Cryptography;

namespace WandbLaunch.Server.Data;

/// <summary>A file on its way into the store: written to a temporary one, hashed as it comes.</summary>
// MD5 is W&B's name for a file's content, not a protection.
#pragma warning disable CA5351
internal sealed class FileWriter : IDisposable
{
    private readonly IncrementalHash _sha256 = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private readonly IncrementalHash _md5 = IncrementalHash.CreateHash(HashAlgorithmName.MD5);
    private FileStream? _stream;
    private long _hashed;

    /// <summary>Begins a file, or goes on with one that is there.</summary>
    internal FileWriter(string path)
    {
        Path = path;
        Length = File.Exists(path) ? new FileInfo(path).Length : 0;
    }

    internal string Path { get; }
    internal long Length { get; private set; }

    internal void Write(ReadOnlySpan<byte> block)
    {
        try
        {
            Stream().Write(block);
        }
        catch (IOException e)
        {
            throw FileFault.OfDisk(e);
        }

        _sha256.AppendData(block);
        _md5.AppendData(block);
        Length += block.Length;
        _hashed = Length;
    }

    /// <summary>What is written is on the disk, and the file closed; the writer can go on.</summary>
    internal void Pause()
    {
        try
        {
            _stream?.Flush(true);
        }
        catch (IOException e)
        {
            throw FileFault.OfDisk(e);
        }
        finally
        {
            _stream?.Dispose();
            _stream = null;
        }
    }

    /// <summary>The file is whole and on the disk.</summary>
    internal (string Hash, byte[] Md5) Finish()
    {
        // Opened also for an empty file, which is one.
        Stream();
        Pause();
        return (Convert.ToHexString(_sha256.GetHashAndReset()).ToLowerInvariant(), _md5.GetHashAndReset());
    }

    /// <summary>Forgets what came.</summary>
    internal void Restart()
    {
        _stream?.Dispose();
        _stream = null;
        File.Delete(Path);
        _ = (_sha256.GetHashAndReset(), _md5.GetHashAndReset());
        Length = _hashed = 0;
    }

    public void Dispose()
    {
        _stream?.Dispose();
        _sha256.Dispose();
        _md5.Dispose();
    }

    private FileStream Stream()
    {
        if (_stream is not null)
        {
            return _stream;
        }

        try
        {
            var options = new FileStreamOptions
            {
                Mode = FileMode.OpenOrCreate,
                Access = FileAccess.ReadWrite,
                Share = FileShare.None,
                BufferSize = 0,
            };
            if (!OperatingSystem.IsWindows())
            {
                options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
            }

            _stream = new FileStream(Path, options);
            CatchUp(_stream);
            return _stream;
        }
        catch (IOException e)
        {
            throw FileFault.OfDisk(e);
        }
    }

    // What an earlier process received was hashed there.
    private void CatchUp(FileStream stream)
    {
        stream.Position = _hashed;
        var block = new byte[1 << 17];
        while (_hashed < Length)
        {
            var read = stream.Read(block, 0, (int)Math.Min(block.Length, Length - _hashed));
            if (read == 0)
            {
                throw new EndOfStreamException();
            }

            _sha256.AppendData(block, 0, read);
            _md5.AppendData(block, 0, read);
            _hashed += read;
        }
    }
}
