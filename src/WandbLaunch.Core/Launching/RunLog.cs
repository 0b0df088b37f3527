using System.Globalization;
using WandbLaunch.Foundation;

namespace WandbLaunch.Launching;

/// <summary>
/// The file with what a program printed. Writing never throws and never waits: what cannot be written is counted, and when
/// there is room again a mark says what is missing, and the log goes on. With a limit, the first half of it is the beginning
/// of the output and the second half its end; the end waits in two files beside it and is added when the run is over.
/// </summary>
internal sealed class RunLog : IDisposable
{
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(250);
    private static readonly TimeSpan LookPause = TimeSpan.FromSeconds(1);

    private readonly object _lock = new();
    private readonly string _path;
    private readonly long? _limit;
    private readonly TimeProvider _time;
    private readonly Segment?[] _tail = new Segment?[2];
    private FileStream? _file;
    private string? _place;
    private long _length;
    private long _beginning;
    private long _looked;
    private long _tried;
    private long _lost;
    private long _allLost;
    private long _leftOut;
    private DateTimeOffset _lostSince;
    private string _why = "";
    private string _firstWhy = "";
    private int _newest;
    private bool _closed;

    internal RunLog(string path, long? limit, bool anew, TimeProvider? time = null)
    {
        _path = path;
        _limit = limit;
        _time = time ?? TimeProvider.System;
        if (anew)
        {
            for (var i = 0; i < _tail.Length; i++)
            {
                File.Delete(TailPath(i));
            }
        }

        try
        {
            Open(anew);
            _beginning = _length;
        }
        catch (Exception e) when (IsFault(e))
        {
            _why = Why(e);
        }
    }

    /// <summary>Bytes that are in the file.</summary>
    internal long Length
    {
        get
        {
            lock (_lock)
            {
                return _length;
            }
        }
    }

    /// <summary>True while the file holds all that was printed, and nothing waits beside it.</summary>
    internal bool IsPlain
    {
        get
        {
            lock (_lock)
            {
                return _allLost == 0 && _leftOut == 0 && _tail[0] is null && _tail[1] is null && _file is not null;
            }
        }
    }

    /// <summary>True when something of the output is not in the log.</summary>
    internal bool IsTruncated
    {
        get
        {
            lock (_lock)
            {
                return _allLost > 0 || _leftOut > 0;
            }
        }
    }

    /// <summary>What a person should know about the log.</summary>
    internal IReadOnlyList<string> Warnings
    {
        get
        {
            lock (_lock)
            {
                var warnings = new List<string>();
                if (_allLost > 0)
                {
                    warnings.Add(
                        $"{Number(_allLost)} bytes of the output are missing in the log, for it could not be written: {_firstWhy}."
                    );
                }

                if (_leftOut > 0)
                {
                    warnings.Add(
                        $"The output is longer than -MaxLogSize ({Number(_limit!.Value)} bytes): {Number(_leftOut)} bytes between its beginning and its end are left out of the log."
                    );
                }

                return warnings;
            }
        }
    }

    internal void Write(ReadOnlySpan<byte> bytes)
    {
        lock (_lock)
        {
            if (_closed)
            {
                return;
            }

            if (_limit is { } limit)
            {
                var room = (int)Math.Clamp((limit / 2) - _beginning, 0, bytes.Length);
                _beginning += room;
                while (room > 0 && room < bytes.Length && (bytes[room] & 0xC0) == 0x80)
                {
                    // Not within a character.
                    room--;
                }

                WriteBeginning(bytes[..room]);
                WriteEnd(bytes[room..], Math.Max(1, limit / 4));
            }
            else
            {
                WriteBeginning(bytes);
            }
        }
    }

    /// <summary>Puts what waits to its end. False when there is no room for it yet.</summary>
    internal bool TryComplete()
    {
        lock (_lock)
        {
            Look();
            if (_lost > 0 && !TryMark())
            {
                return false;
            }

            if (_tail[0] is null)
            {
                return true;
            }

            if (
                _leftOut > 0
                && !TryAppendWhole(
                    Mark($"{Number(_leftOut)} bytes of output are left out here: it is longer than -MaxLogSize")
                )
            )
            {
                return false;
            }

            foreach (var index in new[] { 1 - _newest, _newest })
            {
                if (_tail[index] is { } segment && !TryTake(segment))
                {
                    return false;
                }

                _tail[index]?.Dispose();
                _tail[index] = null;
                File.Delete(TailPath(index));
            }

            return true;
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            _closed = true;
            _file?.Dispose();
            foreach (var segment in _tail)
            {
                segment?.Dispose();
            }
        }
    }

    private void WriteBeginning(ReadOnlySpan<byte> bytes)
    {
        if (bytes.IsEmpty)
        {
            return;
        }

        Look();
        if (_lost > 0 && (_time.GetElapsedTime(_tried) < Pause || !TryMark()))
        {
            Lose(bytes.Length);
            return;
        }

        if (Append(bytes) is var written && written < bytes.Length)
        {
            Lose(bytes.Length - written);
        }
    }

    private void Lose(long count)
    {
        if (_lost == 0)
        {
            _lostSince = _time.GetUtcNow();
            _tried = _time.GetTimestamp();
        }

        if (_allLost == 0)
        {
            _firstWhy = _why;
        }

        _lost += count;
        _allLost += count;
    }

    private bool TryMark()
    {
        _tried = _time.GetTimestamp();
        if (
            !TryAppendWhole(
                Mark(
                    $"{Number(_lost)} bytes of output are missing here: the log could not be written from {Moment(_lostSince)} to {Moment(_time.GetUtcNow())}: {_why}"
                )
            )
        )
        {
            return false;
        }

        _lost = 0;
        return true;
    }

    // All or nothing: half a mark would be read as output.
    private bool TryAppendWhole(byte[] bytes)
    {
        var before = _length;
        var written = Append(bytes);
        if (written == bytes.Length)
        {
            return true;
        }

        if (written > 0)
        {
            try
            {
                RandomAccess.SetLength(_file!.SafeFileHandle, before);
                _length = before;
            }
            catch (Exception e) when (IsFault(e))
            {
                // Half a mark it is.
            }
        }

        return false;
    }

    /// <summary>Appends, and says how much of it was written.</summary>
    private int Append(ReadOnlySpan<byte> bytes)
    {
        try
        {
            if (_file is null)
            {
                Open(false);
            }

            // Somebody may have emptied it to make room.
            _length = Math.Min(_length, RandomAccess.GetLength(_file!.SafeFileHandle));
            RandomAccess.Write(_file!.SafeFileHandle, bytes, _length);
            _length += bytes.Length;
            return bytes.Length;
        }
        catch (Exception e) when (IsFault(e))
        {
            _why = Why(e);
            return Written(bytes.Length);
        }
    }

    private int Written(int most)
    {
        try
        {
            if (_file is null)
            {
                return 0;
            }

            var written = (int)Math.Clamp(RandomAccess.GetLength(_file.SafeFileHandle) - _length, 0, most);
            _length += written;
            return written;
        }
        catch (Exception e) when (IsFault(e))
        {
            return 0;
        }
    }

    // A file that was removed takes writes for ever and shows them to nobody.
    private void Look()
    {
        if (_file is null || _time.GetElapsedTime(_looked) < LookPause)
        {
            return;
        }

        _looked = _time.GetTimestamp();
        if (File.Exists(_path) && (_place is null || PlaceOf(_file) == _place))
        {
            return;
        }

        _file.Dispose();
        _file = null;
        _why = "the file was removed";
        if (_length > 0)
        {
            Lose(_length);
            _tried = 0;
        }
    }

    private void Open(bool anew)
    {
        if (!anew && new FileInfo(_path).LinkTarget is not null)
        {
            throw new IOException("a link stands in its place");
        }

        _file = FileModes.OpenPrivate(
            _path,
            anew ? FileMode.Create : FileMode.OpenOrCreate,
            FileAccess.Write,
            FileShare.ReadWrite | FileShare.Delete
        );
        _length = RandomAccess.GetLength(_file.SafeFileHandle);
        _place = PlaceOf(_file);
        _looked = _time.GetTimestamp();
    }

    private static string? PlaceOf(FileStream file) =>
        OperatingSystem.IsLinux()
            ? new FileInfo($"/proc/self/fd/{file.SafeFileHandle.DangerousGetHandle()}").LinkTarget
            : null;

    private void WriteEnd(ReadOnlySpan<byte> bytes, long most)
    {
        if (bytes.Length > most)
        {
            _leftOut += bytes.Length - most;
            bytes = bytes[^(int)most..];
            while (bytes.Length > 0 && (bytes[0] & 0xC0) == 0x80)
            {
                // Not within a character.
                bytes = bytes[1..];
                _leftOut++;
            }
        }

        if (bytes.IsEmpty)
        {
            return;
        }

        try
        {
            _tail[_newest] ??= new Segment(TailPath(_newest));
            if (_tail[_newest]!.Length + bytes.Length > most)
            {
                _newest = 1 - _newest;
                _tail[_newest] ??= new Segment(TailPath(_newest));
                _leftOut += _tail[_newest]!.Length;
                _tail[_newest]!.Empty();
            }

            _tail[_newest]!.Append(bytes);
        }
        catch (Exception e) when (IsFault(e))
        {
            (_why, _firstWhy) = (Why(e), _allLost == 0 ? Why(e) : _firstWhy);
            _leftOut += bytes.Length;
        }
    }

    private bool TryTake(Segment segment)
    {
        var buffer = new byte[1 << 16];
        int read;
        while ((read = segment.Read(buffer)) > 0)
        {
            var written = Append(buffer.AsSpan(0, read));
            segment.Taken += written;
            if (written < read)
            {
                return false;
            }
        }

        return true;
    }

    private string TailPath(int index) => $"{_path}.end{index + 1}";

    private byte[] Mark(string text) =>
        System.Text.Encoding.UTF8.GetBytes($"{(_length > 0 ? "\n" : "")}[wandb-launch: {text}]\n");

    private static string Number(long number) => number.ToString("N0", CultureInfo.InvariantCulture);

    private static string Moment(DateTimeOffset time) =>
        time.ToString("yyyy-MM-dd HH:mm:ss'Z'", CultureInfo.InvariantCulture);

    private static bool IsFault(Exception e) =>
        e is IOException or UnauthorizedAccessException or NotSupportedException or ObjectDisposedException;

    private static string Why(Exception e) =>
        (e.HResult & 0xFFFF) switch
        {
            28 or 0x70 or 0x27 when e is IOException => "the disk is full",
            122 when e is IOException && !OperatingSystem.IsWindows() => "the disk quota is used up",
            30 when e is IOException && !OperatingSystem.IsWindows() => "the disk is read-only",
            _ => e.Message,
        };

    /// <summary>A part of the end of the output.</summary>
    private sealed class Segment(string path) : IDisposable
    {
        private readonly FileStream _file = FileModes.OpenPrivate(
            path,
            FileMode.Create,
            FileAccess.ReadWrite,
            FileShare.ReadWrite | FileShare.Delete
        );

        internal long Length { get; private set; }

        internal long Taken { get; set; }

        internal void Append(ReadOnlySpan<byte> bytes)
        {
            RandomAccess.Write(_file.SafeFileHandle, bytes, Length);
            Length += bytes.Length;
        }

        internal void Empty()
        {
            RandomAccess.SetLength(_file.SafeFileHandle, 0);
            Length = 0;
        }

        internal int Read(byte[] buffer) =>
            RandomAccess.Read(
                _file.SafeFileHandle,
                buffer.AsSpan(0, (int)Math.Min(buffer.Length, Length - Taken)),
                Taken
            );

        public void Dispose() => _file.Dispose();
    }
}
