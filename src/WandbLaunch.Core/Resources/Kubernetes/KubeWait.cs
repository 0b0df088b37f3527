using System.Collections.Frozen;

namespace WandbLaunch.Resources;

/// <summary>What a launch waits for, and for how long that is nothing to worry about.</summary>
/// <param name="Key">The cluster's own word for it: a wait of another word begins anew.</param>
/// <param name="Words">For people.</param>
/// <param name="Since">Since when, where the cluster says so.</param>
internal sealed record KubeWait(string Key, string Words, DateTimeOffset? Since = null)
{
    /// <summary>From then on somebody has to do something about it; null: it is its turn that it waits for.</summary>
    internal TimeSpan? StuckAfter { get; init; }

    /// <summary>From then on it is given up: the cluster itself will try for ever, and it cannot get better by itself.</summary>
    internal TimeSpan? FailsAfter { get; init; }

    private static readonly TimeSpan AtOnce = TimeSpan.Zero;
    private static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);

    // docs/about_WandbLaunch_Kubernetes.md has this table for people; a test compares them.
    private static readonly FrozenDictionary<string, (string Words, TimeSpan? Stuck, TimeSpan? Fails)> Table =
        new Dictionary<string, (string Words, TimeSpan? Stuck, TimeSpan? Fails)>(StringComparer.Ordinal)
        {
            ["Unschedulable"] = ("no node has a place for it", Minute, null),
            ["SchedulingGated"] = ("something keeps it from being placed", TimeSpan.FromMinutes(10), null),
            ["NotScheduled"] = ("it waits for a node", Minute * 2, null),
            ["ContainerCreating"] = ("its node gets the image and the volumes", TimeSpan.FromMinutes(15), null),
            ["PodInitializing"] = ("its init containers run", null, null),
            ["ErrImagePull"] = ("its image cannot be pulled", Minute, TimeSpan.FromMinutes(15)),
            ["ImagePullBackOff"] = ("its image cannot be pulled", Minute, TimeSpan.FromMinutes(15)),
            ["RegistryUnavailable"] = ("the registry of its image does not answer", Minute, TimeSpan.FromMinutes(30)),
            ["ErrImageNeverPull"] = ("its image is not on the node, and may not be pulled", AtOnce, Minute),
            ["ImageInspectError"] = ("its image cannot be read on the node", AtOnce, TimeSpan.FromMinutes(5)),
            ["InvalidImageName"] = ("its image has no valid name", AtOnce, Minute),
            ["CreateContainerConfigError"] = ("something that its container refers to is missing", Minute, Minute * 5),
            ["CreateContainerError"] = ("its container cannot be made", Minute, Minute * 5),
            ["RunContainerError"] = ("its program cannot be started", Minute, Minute * 5),
            ["CrashLoopBackOff"] = ("its program ends again and again", AtOnce, null),
            ["FailedMount"] = ("a volume cannot be mounted", Minute * 2, null),
            ["FailedAttachVolume"] = ("a volume cannot be attached", Minute * 2, null),
            ["FailedCreatePodSandBox"] = ("its node cannot set up the network", Minute * 2, null),
            ["FailedCreate"] = ("its pod cannot be made", Minute, null),
            ["QuotaExceeded"] = ("the namespace's quota is used up", TimeSpan.FromMinutes(10), null),
            ["Suspended"] = ("it is suspended", TimeSpan.FromMinutes(10), null),
            ["QueuedByKueue"] = ("it waits in its queue", null, null),
            ["KueueMisconfigured"] = ("its queue cannot admit it", Minute, null),
            ["EvictedByKueue"] = ("its queue took its place away, and it waits again", null, null),
            ["NoPod"] = ("the cluster has not begun with it", Minute * 5, null),
            ["Pending"] = ("it waits for its turn", null, null),
            ["Terminating"] = ("it is being removed", TimeSpan.FromMinutes(10), null),
        }.ToFrozenDictionary(StringComparer.Ordinal);

    /// <summary>Every key, with its words and times.</summary>
    internal static IEnumerable<(string Key, string Words, TimeSpan? Stuck, TimeSpan? Fails)> All =>
        Table.Select(t => (t.Key, t.Value.Words, t.Value.Stuck, t.Value.Fails));

    internal static bool Knows(string? key) => key is not null && Table.ContainsKey(key);

    /// <summary>A wait by the cluster's word, with what the cluster adds.</summary>
    internal static KubeWait For(string key, string? detail = null, DateTimeOffset? since = null)
    {
        var (words, stuck, fails) = Table.TryGetValue(key, out var known) ? known : (key, Minute * 5, null);
        detail = detail?.Trim();
        return new KubeWait(key, string.IsNullOrEmpty(detail) ? words : $"{words}: {Clip(detail)}", since)
        {
            StuckAfter = stuck,
            FailsAfter = fails,
        };
    }

    internal static string Clip(string text) => text.Length > 500 ? text[..500] + "…" : text;
}
