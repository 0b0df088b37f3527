using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace WandbLaunch.Server.Pages;

/// <summary>
/// Names and numbers of a row of history, as programs write them. What is anything else is left to a reader of JSON; what
/// is read here is JSON, and the same number but for its last bits.
/// </summary>
internal static class PlainNumbers
{
    private static readonly double[] Powers =
    [
        .. Enumerable
            .Range(0, 23)
            .Select(i => double.Parse("1e" + i.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture)),
    ];

    /// <summary>Goes over white space and one character, if it is the next.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static bool Take(ReadOnlySpan<byte> json, ref int at, byte wanted)
    {
        Skip(json, ref at);
        if ((uint)at >= (uint)json.Length || json[at] != wanted)
        {
            return false;
        }

        at++;
        return true;
    }

    /// <summary>Whether only white space follows.</summary>
    internal static bool IsEnd(ReadOnlySpan<byte> json, int at)
    {
        Skip(json, ref at);
        return at == json.Length;
    }

    /// <summary>A name without escapes, and the colon after it.</summary>
    internal static bool TryName(ReadOnlySpan<byte> json, ref int at, out ReadOnlySpan<byte> name)
    {
        name = default;
        if (!Take(json, ref at, (byte)'"'))
        {
            return false;
        }

        var length = json[at..].IndexOfAny((byte)'"', (byte)'\\');
        if (length < 0 || json[at + length] != '"')
        {
            return false;
        }

        name = json.Slice(at, length);
        at += length + 1;
        return Take(json, ref at, (byte)':');
    }

    /// <summary>A number of at most 18 digits before its point, and a power of ten that one or two doubles hold as they are.</summary>
    internal static bool TryNumber(ReadOnlySpan<byte> json, ref int at, out double value)
    {
        value = 0;
        Skip(json, ref at);
        var i = at;
        var negative = i < json.Length && json[i] == '-';
        i += negative ? 1 : 0;
        var (digits, whole, power) = (0L, 0, 0);
        var first = i;
        for (; i < json.Length && (uint)(json[i] - '0') <= 9; i++)
        {
            digits = digits * 10 + (json[i] - '0');
            whole++;
        }

        // JSON has no number that begins with a needless nought, nor one without a digit before its point.
        if (whole == 0 || whole > 1 && json[first] == '0' || whole > 18)
        {
            return false;
        }

        if (i < json.Length && json[i] == '.')
        {
            whole = digits == 0 ? 0 : whole;
            var point = ++i;
            for (; i < json.Length && (uint)(json[i] - '0') <= 9; i++)
            {
                // Digits that no double has are left out; noughts before the first other digit are none of them.
                if (whole < 18)
                {
                    digits = digits * 10 + (json[i] - '0');
                    power--;
                    whole += digits == 0 ? 0 : 1;
                }
            }

            if (i == point)
            {
                return false;
            }
        }

        if (i < json.Length && (json[i] | 0x20) == 'e')
        {
            i++;
            var small = i < json.Length && json[i] == '-';
            i += small || i < json.Length && json[i] == '+' ? 1 : 0;
            var (exponent, from) = (0, i);
            for (; i < json.Length && (uint)(json[i] - '0') <= 9 && exponent < 1000; i++)
            {
                exponent = exponent * 10 + (json[i] - '0');
            }

            if (i == from)
            {
                return false;
            }

            power += small ? -exponent : exponent;
        }

        if (power is < -44 or > 22)
        {
            return false;
        }

        value =
            power < -22 ? digits / Powers[22] / Powers[-power - 22]
            : power < 0 ? digits / Powers[-power]
            : digits * Powers[power];
        value = negative ? -value : value;
        at = i;
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Skip(ReadOnlySpan<byte> json, ref int at)
    {
        while ((uint)at < (uint)json.Length && json[at] is (byte)' ' or (byte)'\t' or (byte)'\n' or (byte)'\r')
        {
            at++;
        }
    }
}

/// <summary>Numbers of a chart with the seven digits that it can show.</summary>
internal sealed class ShortNumbers : JsonConverter<List<double?>>
{
    public override List<double?> Read(ref Utf8JsonReader reader, Type type, JsonSerializerOptions options) =>
        throw new NotSupportedException("Charts are only written.");

    public override void Write(Utf8JsonWriter writer, List<double?> value, JsonSerializerOptions options)
    {
        Span<byte> text = stackalloc byte[32];
        writer.WriteStartArray();
        foreach (var number in value)
        {
            if (number is not { } there)
            {
                writer.WriteNullValue();
            }
            else if (there.TryFormat(text, out var length, "G7", CultureInfo.InvariantCulture))
            {
                writer.WriteRawValue(text[..length], skipInputValidation: true);
            }
            else
            {
                writer.WriteNumberValue(there);
            }
        }

        writer.WriteEndArray();
    }
}
