using System.Text;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>Names and labels of what a launch makes in a cluster. A launch always makes the same ones, so that it is found again.</summary>
internal static class KubeNames
{
    /// <summary>On everything that is made for a launch: its id, as a label can hold it.</summary>
    internal const string LaunchLabel = "wandb.ai/launch-id";

    /// <summary>On what is made beside a launch: its pods are no pods of the run.</summary>
    internal const string ServiceLabel = "wandb.ai/service-of";
    internal const string RunLabel = "wandb.ai/run-id";
    internal const string AgentLabel = "wandb.ai/agent";
    internal const string ManagerLabel = "app.kubernetes.io/managed-by";
    internal const string Manager = "wandb-launch";

    /// <summary>Kueue admits what has it.</summary>
    internal const string QueueLabel = "kueue.x-k8s.io/queue-name";

    /// <summary>On pods: the container whose log and exit code are the run's. kubectl knows it too.</summary>
    internal const string MainContainer = "kubectl.kubernetes.io/default-container";

    /// <summary>Everything of ours.</summary>
    internal const string Ours = LaunchLabel;

    private const int MostName = 45;
    private const int MostLabel = 63;

    /// <summary>The name of a launch's object. Pods and services that a controller makes of it have longer ones, and 63 is the end.</summary>
    internal static string ObjectName(string? prefix, string id)
    {
        var given = string.IsNullOrEmpty(prefix) ? Manager : prefix;
        return Short(Dns(given.TrimEnd('-') + "-" + id), given + "-" + id, MostName);
    }

    /// <summary>Name of the secret beside it.</summary>
    internal static string SecretName(string objectName) => objectName + "-env";

    /// <summary>A text as a label can hold it; the same for the same text, another for another.</summary>
    internal static string LabelOf(string text)
    {
        var safe = new StringBuilder();
        foreach (var c in text)
        {
            safe.Append(char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.' ? c : '-');
        }

        return Short(safe.ToString().Trim('-', '_', '.'), text, MostLabel);
    }

    private static string Dns(string text)
    {
        var safe = new StringBuilder();
        foreach (var c in text)
        {
            safe.Append(
                char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) ? c
                : char.IsAsciiLetterUpper(c) ? char.ToLowerInvariant(c)
                : '-'
            );
        }

        var name = safe.ToString().Trim('-');
        return name.Length > 0 && char.IsAsciiLetter(name[0]) ? name : "l-" + name;
    }

    // What was changed could be the name of another one too.
    private static string Short(string safe, string text, int most) =>
        safe == text && safe.Length <= most
            ? safe
            : (safe.Length > 0 ? safe[..Math.Min(safe.Length, most - 9)].TrimEnd('-', '_', '.') : "x")
                + "-"
                + LaunchCache.Hash(text)[..8];
}
