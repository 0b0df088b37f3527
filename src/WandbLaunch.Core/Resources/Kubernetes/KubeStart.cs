using System.Text;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>
/// Makes what a launch needs in the cluster: the secret, its services, and then the Job, to which all of it is given, so that
/// it goes when the Job goes. Each has a fixed name: what an earlier try made is found, and nothing is made twice.
/// </summary>
internal sealed class KubeStart(KubeApi api, string id, KubernetesData data, TimeProvider time)
{
    private static readonly TimeSpan ReadyPause = TimeSpan.FromSeconds(2);

    private readonly string _label = KubeNames.LabelOf(id);
    private readonly List<string> _made = [];

    internal async Task RunAsync(IReadOnlyDictionary<string, string> secrets, CancellationToken token)
    {
        if (await FindAsync(token) is { } before)
        {
            // Of this very launch, made by somebody who could not write it down.
            await OwnAsync(before, secrets.Count > 0, token);
            return;
        }

        try
        {
            if (secrets.Count > 0)
            {
                await MakeSecretAsync(secrets, token);
            }

            foreach (var service in data.Services)
            {
                await MakeAsync(await PathOfAsync(service, token), WithSecrets(service, secrets), token);
            }

            foreach (var service in data.WaitForReady ? data.Services : [])
            {
                await WaitAsync(service, token);
            }

            var value = await MakeAsync(
                data.Handle.Kind.Path(data.Namespace),
                WithSecrets(data.Manifest, secrets),
                token
            );
            await OwnAsync(value, secrets.Count > 0, token);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            // Nobody will look after what was made for it.
            await UndoAsync();
            if (e is KubeFault || KubeFault.IsAway(e))
            {
                throw KubeFault.Explain(e, api.Server, Shown(data.Manifest));
            }

            throw;
        }
    }

    /// <summary>What was made of this launch; null where there is nothing.</summary>
    /// <exception cref="LaunchException"><c>RunExists</c>: somebody else's has its name.</exception>
    internal async Task<JsonObject?> FindAsync(CancellationToken token)
    {
        try
        {
            return await api.FindAsync(data.Handle.Path, token) is { } there ? Mine(there) : null;
        }
        catch (Exception e) when (e is KubeFault || KubeFault.IsAway(e))
        {
            throw KubeFault.Explain(e, api.Server, Shown(data.Manifest));
        }
    }

    /// <summary>Tries it out: the server checks everything, and makes nothing.</summary>
    internal async Task TryAsync(CancellationToken token)
    {
        foreach (var manifest in data.Services.Append(data.Manifest))
        {
            try
            {
                await api.CreateAsync(
                    $"{await PathOfAsync(manifest, token)}?dryRun=All&fieldValidation=Strict",
                    manifest,
                    token
                );
            }
            catch (Exception e) when (e is KubeFault || KubeFault.IsAway(e))
            {
                throw KubeFault.Explain(e, api.Server, Shown(manifest));
            }
        }
    }

    private JsonObject WithSecrets(JsonObject manifest, IReadOnlyDictionary<string, string> secrets) =>
        secrets.Count == 0
            ? manifest
            : KubeManifest.WithSecrets(manifest, KubeNames.SecretName(data.Name), secrets.Keys);

    private async Task<string> PathOfAsync(JsonObject manifest, CancellationToken token) =>
        (await api.KindOfAsync(manifest, token)).Path(data.Namespace);

    private async Task<JsonObject> MakeAsync(string path, JsonObject manifest, CancellationToken token)
    {
        var one = path + "/" + Uri.EscapeDataString(manifest.Str("metadata", "name")!);
        try
        {
            var made = await api.CreateAsync(path + "?fieldValidation=Strict", manifest, token);
            _made.Add(one);
            return made;
        }
        catch (KubeFault e) when (e.IsThere)
        {
            // An answer that was lost on its way, or an earlier try.
            return Mine(await api.GetAsync(one, token));
        }
    }

    private async Task MakeSecretAsync(IReadOnlyDictionary<string, string> secrets, CancellationToken token)
    {
        var name = KubeNames.SecretName(data.Name);
        var path = KubeKind.Secret.Path(data.Namespace);
        var values = KubeJson.MapOf(
            secrets.Select(s => KeyValuePair.Create(s.Key, Convert.ToBase64String(Encoding.UTF8.GetBytes(s.Value))))
        );
        var labels = (JsonObject)data.Manifest.At("metadata", "labels")!.DeepClone();
        labels.Remove(KubeNames.QueueLabel);
        var secret = new JsonObject
        {
            ["apiVersion"] = "v1",
            ["kind"] = "Secret",
            ["type"] = "Opaque",
            ["metadata"] = new JsonObject
            {
                ["name"] = name,
                ["namespace"] = data.Namespace,
                ["labels"] = labels,
            },
            ["data"] = values,
        };
        var there = await MakeAsync(path, secret, token);
        if (!JsonNode.DeepEquals(there["data"], values))
        {
            // Of an earlier try, with a key that may have changed.
            await api.PatchAsync($"{path}/{name}", new JsonObject { ["data"] = values.DeepClone() }, token);
        }
    }

    private async Task OwnAsync(JsonObject owner, bool secret, CancellationToken token)
    {
        var paths = new List<string>();
        if (secret)
        {
            paths.Add(KubeKind.Secret.Path(data.Namespace, KubeNames.SecretName(data.Name)));
        }

        foreach (var service in data.Services)
        {
            paths.Add(await PathOfAsync(service, token) + "/" + Uri.EscapeDataString(service.Str("metadata", "name")!));
        }

        foreach (var path in paths)
        {
            try
            {
                await api.PatchAsync(
                    path,
                    new JsonObject
                    {
                        ["metadata"] = new JsonObject
                        {
                            ["ownerReferences"] = new JsonArray(
                                new JsonObject
                                {
                                    ["apiVersion"] = owner.Str("apiVersion"),
                                    ["kind"] = owner.Str("kind"),
                                    ["name"] = owner.Str("metadata", "name"),
                                    ["uid"] = owner.Str("metadata", "uid"),
                                }
                            ),
                        },
                    },
                    token
                );
            }
            catch (KubeFault e) when (e.IsMissing)
            {
                // Removed with a launch that is over.
            }
        }
    }

    private async Task WaitAsync(JsonObject service, CancellationToken token)
    {
        var path = await PathOfAsync(service, token) + "/" + Uri.EscapeDataString(service.Str("metadata", "name")!);
        var began = time.GetTimestamp();
        while (true)
        {
            var now = await api.GetAsync(path, token);
            if (IsReady(now))
            {
                return;
            }

            if (time.GetElapsedTime(began).TotalSeconds > data.WaitSeconds)
            {
                throw new LaunchException(
                    "KubernetesServiceNotReady",
                    LaunchErrorCategory.OperationTimeout,
                    $"{Shown(service)} was not ready within {data.WaitSeconds} s, so the run was not started. Give it longer with wait_timeout, or do not wait: wait_for_ready = false.",
                    service.Str("metadata", "name")
                );
            }

            await Task.Delay(ReadyPause, time, token);
        }
    }

    private static bool IsReady(JsonObject value) =>
        value.Str("kind") switch
        {
            "Pod" => value.Maps("status", "conditions").Any(c => c.Str("type") == "Ready" && c.Str("status") == "True")
                || value.Str("status", "phase") == "Succeeded",
            "Deployment" or "StatefulSet" or "ReplicaSet" => (value.Int("status", "readyReplicas") ?? 0)
                >= (value.Int("spec", "replicas") ?? 1),
            "Job" => value
                .Maps("status", "conditions")
                .Any(c => c.Str("type") == "Complete" && c.Str("status") == "True"),
            _ => true,
        };

    private JsonObject Mine(JsonObject there) =>
        (
            there.Str("metadata", "labels", KubeNames.LaunchLabel)
            ?? there.Str("metadata", "labels", KubeNames.ServiceLabel)
        ) == _label
            ? there
            : throw new LaunchException(
                "RunExists",
                LaunchErrorCategory.ResourceExists,
                $"The namespace {data.Namespace} has a {there.Str("kind")} {there.Str("metadata", "name")} already, and it is not of this launch. Choose another -RunId or another name, or delete that one.",
                there.Str("metadata", "name")
            );

    private async Task UndoAsync()
    {
        foreach (var path in Enumerable.Reverse(_made))
        {
            try
            {
                await api.DeleteAsync(path, false, null, CancellationToken.None);
            }
            catch (Exception e) when (e is KubeFault || KubeFault.IsAway(e))
            {
                // The next try finds it by its name.
            }
        }
    }

    private static string Shown(JsonObject manifest) =>
        $"the {manifest.Str("kind") ?? "Job"} {manifest.Str("metadata", "name")}";
}
