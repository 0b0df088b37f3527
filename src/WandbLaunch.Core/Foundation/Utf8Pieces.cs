using System.Text;

namespace WandbLaunch.Foundation;

/// <summary>Makes pieces of UTF-8 end with a whole character: what is left of one waits for the next piece. One for each stream, for pieces of two streams do not belong together.</summary>
internal sealed class Utf8Pieces
{
    private byte[] _held = [];

    internal Utf8Pieces() { }

    /// <summary>Goes on where another one ended.</summary>
    /// <param name="held">What that one held, in base 64.</param>
    internal Utf8Pieces(string? held) => _held = held is null ? [] : Convert.FromBase64String(held);

    /// <summary>What waits for its rest.</summary>
    internal byte[] Held => _held;

    /// <summary>The held bytes and these, up to the end of the last whole character.</summary>
    internal byte[] Add(ReadOnlySpan<byte> bytes)
    {
        var all = new byte[_held.Length + bytes.Length];
        _held.CopyTo(all, 0);
        bytes.CopyTo(all.AsSpan(_held.Length));
        var whole = all.Length - Unfinished(all);
        _held = all[whole..];
        return whole == all.Length ? all : all[..whole];
    }

    /// <summary>As text.</summary>
    internal string AddText(ReadOnlySpan<byte> bytes) => Encoding.UTF8.GetString(Add(bytes));

    /// <summary>What is left at the end of the stream.</summary>
    internal byte[] Rest()
    {
        var rest = _held;
        _held = [];
        return rest;
    }

    // How many bytes at the end are the beginning of a character; 0 for bytes that are no UTF-8 at all.
    private static int Unfinished(ReadOnlySpan<byte> bytes)
    {
        for (var back = 1; back <= Math.Min(3, bytes.Length); back++)
        {
            var b = bytes[^back];
            if ((b & 0xC0) == 0x80)
            {
                continue;
            }

            var length =
                b >= 0xF5 ? 1
                : b >= 0xF0 ? 4
                : b >= 0xE0 ? 3
                : b >= 0xC2 ? 2
                : 1;
            return length > back ? back : 0;
        }

        return 0;
    }
}
