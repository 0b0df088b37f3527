using System.Text;
using System.Text.Json;

namespace WandbLaunch.Server.Data;

/// <summary>Configs, summaries and history rows of runs: JSON objects, as Python writes them.</summary>
internal static class RunDocuments
{
    /// <summary>The object as strict JSON; null where it is none. Python's json writes NaN and Infinity as they are, which no other reader takes: they become texts, as in the SDK's own history.</summary>
    internal static string? Strict(string text)
    {
        if (IsObject(text))
        {
            return text;
        }

        return WithoutBareNumbers(text) is { } changed && IsObject(changed) ? changed : null;
    }

    private static bool IsObject(string text)
    {
        try
        {
            using var document = JsonDocument.Parse(text);
            return document.RootElement.ValueKind == JsonValueKind.Object;
        }
        catch (Exception e) when (e is JsonException or ArgumentException)
        {
            return false;
        }
    }

    private static string? WithoutBareNumbers(string text)
    {
        var result = new StringBuilder(text.Length + 16);
        var inside = false;
        var changed = false;
        for (var i = 0; i < text.Length; i++)
        {
            if (inside && text[i] == '\\' && i + 1 < text.Length)
            {
                result.Append(text[i++]).Append(text[i]);
                continue;
            }

            if (text[i] == '"')
            {
                inside = !inside;
            }
            else if (!inside && Bare(text.AsSpan(i)) is { } word)
            {
                result.Append('"').Append(word).Append('"');
                i += word.Length - 1;
                changed = true;
                continue;
            }

            result.Append(text[i]);
        }

        return changed ? result.ToString() : null;
    }

    private static string? Bare(ReadOnlySpan<char> text) =>
        text.StartsWith("NaN") ? "NaN"
        : text.StartsWith("Infinity") ? "Infinity"
        : text.StartsWith("-Infinity") ? "-Infinity"
        : null;
}
