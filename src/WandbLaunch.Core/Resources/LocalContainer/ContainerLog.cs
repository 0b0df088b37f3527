using System.Buffers;
using System.Buffers.Binary;
using System.Buffers.Text;
using System.Globalization;
using System.Text;
using Docker.DotNet;
using Docker.DotNet.Models;

namespace WandbLaunch.Resources;

/// <summary>Reads what a container printed from its engine: from any place on, across an engine that goes away, no byte twice.</summary>
internal sealed class ContainerLog(
    DockerClient client,
    string container,
    IRunLogSink sink,
    TimeSpan patience,
    TimeProvider time
)
{
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(1);

    private const int HeaderBytes = 8;
    private const int MostFrameBytes = 16 << 20;

    private LogPosition _at = new(default, default);
    private long _heard;

    internal async Task ReadAsync(string? from, bool follow, CancellationToken token)
    {
        _at = LogPosition.Parse(from);
        for (_heard = time.GetTimestamp(); time.GetElapsedTime(_heard) < patience; )
        {
            try
            {
                await ReadOnceAsync(follow, token);
                if (!follow || !await IsRunningAsync(token))
                {
                    return;
                }
            }
            catch (Exception e) when (EngineConnections.IsAway(e))
            {
                token.ThrowIfCancellationRequested();
            }
            catch (DockerApiException)
            {
                // The container is gone, and its log with it.
                return;
            }

            await Task.Delay(Pause, time, token);
        }
    }

    private async Task<bool> IsRunningAsync(CancellationToken token) =>
        (await client.Containers.InspectContainerAsync(container, token)).State.Running;

    private async Task ReadOnceAsync(bool follow, CancellationToken token)
    {
        // Frames as they are: each is one entry of the log, with the time that names it.
#pragma warning disable CS0618
        using var stream = await client.Containers.GetContainerLogsAsync(
            container,
            new ContainerLogsParameters
            {
                ShowStdout = true,
                ShowStderr = true,
                Timestamps = true,
                Follow = follow,
                Since = _at.Since,
            },
            token
        );
#pragma warning restore CS0618
        using var cut = token.Register(stream.Dispose);
        LogCursor[] cursors = [new(_at.Output, _at), new(_at.Error, _at)];
        var header = new byte[HeaderBytes];
        while (await TryFillAsync(stream, header, token))
        {
            _heard = time.GetTimestamp();
            var length = BinaryPrimitives.ReadInt32BigEndian(header.AsSpan(4));
            if (length is < 0 or > MostFrameBytes)
            {
                throw new IOException("The engine's log has an entry that is too long.");
            }

            var buffer = ArrayPool<byte>.Shared.Rent(Math.Max(1, length));
            try
            {
                if (!await TryFillAsync(stream, buffer.AsMemory(0, length), token))
                {
                    throw new IOException("The engine's log ends within an entry.");
                }

                Take(header[0] == 2 ? RunStream.Error : RunStream.Output, buffer.AsSpan(0, length), cursors);
            }
            finally
            {
                ArrayPool<byte>.Shared.Return(buffer);
            }
        }
    }

    private void Take(RunStream stream, ReadOnlySpan<byte> entry, LogCursor[] cursors)
    {
        var space = entry.IndexOf((byte)' ');
        var time = space > 0 ? LogPosition.TimeOf(entry[..space]) : null;
        var text = time is null ? entry : entry[(space + 1)..];
        var cursor = cursors[(int)stream];
        var skip = cursor.Skip(time ?? 0, text.Length);
        if (skip < text.Length)
        {
            sink.Output(stream, text[skip..]);
        }

        _at = stream == RunStream.Error ? _at with { Error = cursor.Place } : _at with { Output = cursor.Place };
        sink.Reached(_at);
    }

    // False at the end of the stream, when nothing of it was read.
    private static async Task<bool> TryFillAsync(Stream stream, Memory<byte> buffer, CancellationToken token)
    {
        for (var got = 0; got < buffer.Length; )
        {
            var read = await stream.ReadAsync(buffer[got..], token);
            if (read == 0)
            {
                return got == 0 ? false : throw new IOException("The engine's log ends within an entry.");
            }

            got += read;
        }

        return true;
    }

    /// <summary>How far one stream was read: all entries before a time, and so many bytes of those at it.</summary>
    internal readonly record struct Place(long Time, long Bytes);

    /// <summary>How far both were read.</summary>
    internal sealed record LogPosition(Place Output, Place Error)
    {
        // The streams are written by two; one may come later than its time says. What was read already is left out by its own time.
        private const long Margin = 5_000_000_000;

        private const long Second = 1_000_000_000;

        /// <summary>What the engine is asked from, as seconds since 1970.</summary>
        internal long SinceTime => Math.Max(0, Math.Max(Output.Time, Error.Time) - Margin);

        internal string? Since =>
            SinceTime == 0
                ? null
                : string.Create(CultureInfo.InvariantCulture, $"{SinceTime / Second}.{SinceTime % Second:D9}");

        public override string ToString() =>
            string.Create(CultureInfo.InvariantCulture, $"{Output.Time}+{Output.Bytes} {Error.Time}+{Error.Bytes}");

        internal static LogPosition Parse(string? text)
        {
            var parts = (text ?? "").Split(' ', '+');
            var numbers = parts
                .Select(p => long.TryParse(p, NumberStyles.None, CultureInfo.InvariantCulture, out var n) ? n : -1)
                .ToList();
            return numbers is [>= 0, >= 0, >= 0, >= 0]
                ? new LogPosition(new Place(numbers[0], numbers[1]), new Place(numbers[2], numbers[3]))
                : new LogPosition(default, default);
        }

        /// <summary>Nanoseconds since 1970 of 2026-11-25T12:32:07.416233142Z.</summary>
        internal static long? TimeOf(ReadOnlySpan<byte> text)
        {
            var point = text.IndexOf((byte)'.');
            if (
                point != 19
                || !DateTime.TryParseExact(
                    Encoding.ASCII.GetString(text[..point]),
                    "yyyy-MM-ddTHH:mm:ss",
                    CultureInfo.InvariantCulture,
                    DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal,
                    out var whole
                )
                || !Utf8Parser.TryParse(text[(point + 1)..], out long fraction, out var digits)
                || digits > 9
            )
            {
                return null;
            }

            for (var i = digits; i < 9; i++)
            {
                fraction *= 10;
            }

            return ((whole - DateTime.UnixEpoch).Ticks * 100) + fraction;
        }
    }

    /// <summary>One stream of one reading: leaves out what was read before.</summary>
    private sealed class LogCursor(Place read, LogPosition from)
    {
        private readonly Place _read = read;

        // What was read before the time that was asked from does not come again.
        private bool _passed = read.Time < from.SinceTime || read.Bytes == 0;
        private long _seen;

        internal Place Place { get; private set; } = read;

        /// <summary>How much at the beginning of an entry was read before.</summary>
        internal int Skip(long time, int length)
        {
            if (!_passed && time < _read.Time)
            {
                return length;
            }

            var skip = 0;
            if (!_passed && time == _read.Time)
            {
                skip = (int)Math.Clamp(_read.Bytes - _seen, 0, length);
                _seen += length;
                if (skip == length)
                {
                    return length;
                }
            }

            _passed = true;
            Place = new Place(time, (Place.Time == time ? Place.Bytes : 0) + length - skip);
            return skip;
        }
    }
}
