using System.Collections.Concurrent;
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
            text = UserInfo().Replace(text, "$1" + Masked + "@");
        }

        // Protocol A.2: the SDK masks this very text.
        return text.Contains("WANDB_API_KEY", StringComparison.Ordinal)
            ? KeyAssignment().Replace(text, "WANDB_API_KEY=" + Masked)
            : text;
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

    [GeneratedRegex(@"\b([a-zA-Z][a-zA-Z0-9+.-]*://)[^\s/@:]*(?::[^\s/@]*)?@")]
    private static partial Regex UserInfo();

    [GeneratedRegex(@"WANDB_API_KEY=[\w-]+")]
    private static partial Regex KeyAssignment();

    [GeneratedRegex(
        @"(^|_)(API_?KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|INDEX_URL|PRIVATE_KEY|ACCESS_KEY(_ID)?)($|_)",
        RegexOptions.IgnoreCase
    )]
    private static partial Regex SecretName();
}
