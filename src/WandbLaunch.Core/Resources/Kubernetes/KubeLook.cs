using System.Text.Json.Nodes;
using WandbLaunch.Model;

namespace WandbLaunch.Resources;

/// <summary>How launches stand, asked for once.</summary>
internal static class KubeLook
{
    // So many are asked for one by one; more with one list.
    private const int Few = 3;

    internal static async Task LookAsync(
        KubeApi api,
        string @namespace,
        IReadOnlyList<LaunchedRun> runs,
        Dictionary<string, RunStanding> standings,
        DateTimeOffset now,
        CancellationToken token
    )
    {
        Dictionary<string, JsonObject> objects;
        IReadOnlyList<JsonObject> pods;
        if (runs.Count <= Few)
        {
            objects = new(StringComparer.Ordinal);
            var found = new List<JsonObject>();
            foreach (var handle in runs.Select(r => KubeHandle.Of(r.Handle!)))
            {
                if (await api.FindAsync(handle.Path, token) is { } value)
                {
                    objects[handle.Path] = value;
                }
            }

            var labels = string.Join(',', runs.Select(r => KubeNames.LabelOf(r.Id)));
            (pods, _) = await api.ListAsync(
                KubeKind.Pod.Path(@namespace),
                "labelSelector=" + Uri.EscapeDataString($"{KubeNames.LaunchLabel} in ({labels})"),
                token
            );
        }
        else
        {
            objects = new(StringComparer.Ordinal);
            foreach (var kind in runs.Select(r => KubeHandle.Of(r.Handle!).Kind).Distinct())
            {
                var (items, _) = await api.ListAsync(kind.Path(@namespace), KubeCollection.Query, token);
                foreach (var item in items)
                {
                    item["apiVersion"] ??= kind.ApiVersion;
                    item["kind"] ??= kind == KubeKind.Job ? "Job" : kind.Plural;
                    objects[kind.Path(@namespace, item.Str("metadata", "name"))] = item;
                }
            }

            (pods, _) = await api.ListAsync(KubeKind.Pod.Path(@namespace), KubeCollection.Query, token);
        }

        var byLaunch = pods.ToLookup(p => p.Str("metadata", "labels", KubeNames.LaunchLabel) ?? "");
        var hints = KubeHints.None;
        var asked = false;
        foreach (var run in runs)
        {
            var value = objects.GetValueOrDefault(KubeHandle.Of(run.Handle!).Path);
            var state = KubeStates.Read(value, byLaunch[KubeNames.LabelOf(run.Id)], hints);
            if (state.Wait is not null && !asked)
            {
                asked = true;
                hints = await KubeBoard.AskAsync(api, @namespace, token);
                state = KubeStates.Read(value, byLaunch[KubeNames.LabelOf(run.Id)], hints);
            }

            standings[run.Id] = state.At(state.Wait?.Since ?? now, now);
        }
    }
}
