using System.Collections.Concurrent;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace WandbLaunch.Foundation;

/// <summary>Masks secrets in text that people or logs will see.</summary>
internal static partial class Secrets
{
    internal const string Masked = "***";

    private static readonly ConcurrentDictionary<string, byte> Known = new(StringComparer.Ordinal);

    /// <summary>Remembers a secret of this process, so that every message masks it.</summary>
    internal static string Register(string secret)
    {
        if (secret.Length >= 6)
        {
            Known.TryAdd(secret, 0);
        }

        return secret;
    }

    internal static string Mask(string text)
    {
        if (string.IsNullOrEmpty(text))
        {
            return text;
        }

        foreach (var secret in Known.Keys)
        {
            if (text.Contains(secret, StringComparison.Ordinal))
            {
                text = text.Replace(secret, Masked, StringComparison.Ordinal);
            }
        }

        if (text.Contains("://", StringComparison.Ordinal))
        {
            text = SecretQuery().Replace(UserInfo().Replace(text, "$1" + Masked + "@"), "$1" + Masked);
        }

        // Protocol A.2: the SDK masks this very text.
        return text.Contains("WANDB_API_KEY", StringComparison.Ordinal)
            ? KeyAssignment().Replace(text, "WANDB_API_KEY=" + Masked)
            : text;
    }

    /// <summary>
    /// Masks passwords and tokens inside the addresses of a text, and leaves what is only a name: ssh://git@host stays a
    /// usable address.
    /// </summary>
    internal static string MaskLogins(string text)
    {
        if (!text.Contains("://", StringComparison.Ordinal))
        {
            return text;
        }

        // Hardly any address has what the expressions look for, and a long list is many addresses.
        var masked = text.Contains('@', StringComparison.Ordinal) ? UserInfo().Replace(text, MaskUserInfo) : text;
        return masked.Contains('=', StringComparison.Ordinal) ? SecretQuery().Replace(masked, "$1" + Masked) : masked;
    }

    private static string MaskUserInfo(Match match) =>
        match.Groups[2].Value is var login
        && (
            login == "git"
            || (
                match.Value.Contains("ssh://", StringComparison.OrdinalIgnoreCase)
                && !login.Contains(':', StringComparison.Ordinal)
            )
        )
            ? match.Value
            : match.Groups[1].Value + Masked + "@";

    /// <summary>True for a text with an address that holds a password or token.</summary>
    internal static bool HasLogin(string text) =>
        MaskLogins(text) is var masked && !ReferenceEquals(masked, text) && masked != text;

    /// <summary>Masks the addresses in every text of a document; gives the document itself where there is nothing to mask.</summary>
    internal static JsonNode? MaskLogins(JsonNode? node)
    {
        switch (node)
        {
            case JsonObject map:
                JsonObject? maskedMap = null;
                foreach (var (key, value) in map)
                {
                    var (name, inner) = (MaskLogins(key), MaskLogins(value));
                    if (!ReferenceEquals(inner, value) || name != key)
                    {
                        maskedMap ??= (JsonObject)map.DeepClone();
                        if (name != key)
                        {
                            maskedMap.Remove(key);
                        }

                        maskedMap[name] = ReferenceEquals(inner, value) ? value?.DeepClone() : inner;
                    }
                }

                return maskedMap ?? map;
            case JsonArray list:
                JsonArray? maskedList = null;
                for (var i = 0; i < list.Count; i++)
                {
                    var inner = MaskLogins(list[i]);
                    if (!ReferenceEquals(inner, list[i]))
                    {
                        maskedList ??= (JsonArray)list.DeepClone();
                        maskedList[i] = inner;
                    }
                }

                return maskedList ?? list;
            case JsonValue value
                when value.TryGetValue<string>(out var text) && MaskLogins(text) is var masked && masked != text:
                return JsonValue.Create(masked);
            default:
                return node;
        }
    }

    /// <summary>Masks the known secrets of many lines; cheap where there are none.</summary>
    internal static void MaskAll(List<string> lines)
    {
        foreach (var secret in Known.Keys)
        {
            for (var i = 0; i < lines.Count; i++)
            {
                if (lines[i].Contains(secret, StringComparison.Ordinal))
                {
                    lines[i] = lines[i].Replace(secret, Masked, StringComparison.Ordinal);
                }
            }
        }
    }

    /// <summary>True for an environment variable whose value is shown masked.</summary>
    internal static bool IsSecretName(string name) => SecretName().IsMatch(name);

    // To the last @ of the authority: a password may hold one. Not past a quote, so that it stays inside its text.
    [GeneratedRegex(@"\b([a-zA-Z][a-zA-Z0-9+.-]*://)([^\s/""'<>]*)@")]
    private static partial Regex UserInfo();

    [GeneratedRegex(
        @"([?&;#](?:[a-z0-9_.-]*[_.-])?(?:token|password|passwd|pwd|secret|api_?key|private_?key|access_?key|credentials?|signature|sig|auth)=)[^&;#\s""'<>]+",
        RegexOptions.IgnoreCase | RegexOptions.CultureInvariant
    )]
    private static partial Regex SecretQuery();

    [GeneratedRegex(@"WANDB_API_KEY=[\w-]+")]
    private static partial Regex KeyAssignment();

    [GeneratedRegex(
        @"(^|_)(API_?KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|INDEX_URL|PRIVATE_KEY|ACCESS_KEY(_ID)?)($|_)",
        RegexOptions.IgnoreCase
    )]
    private static partial Regex SecretName();
}
