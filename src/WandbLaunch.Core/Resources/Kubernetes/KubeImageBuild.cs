using System.Text;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Python;

namespace WandbLaunch.Resources;

/// <summary>
/// Has an image built and pushed by a Job of the cluster, once however many ask for it: the Job's name comes from the image's,
/// and who finds it there waits for it. What it was made of goes with it.
/// </summary>
internal sealed class KubeImageBuild(
    KubeApi api,
    KubeBuilder builder,
    IImageMaker images,
    LaunchContext context,
    IProgress<LaunchProgress> progress
)
{
    private const int MostRounds = 3;
    private const int MostLog = 1 << 20;

    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(1);

    private string _log = "";

    /// <summary>What the build printed, as far as it was read.</summary>
    internal string Log => Secrets.Mask(_log);

    /// <summary>Brings an image to its registry, unless it is there.</summary>
    /// <param name="request">What is launched.</param>
    /// <param name="base">Its base with the packages.</param>
    /// <param name="namespace">Where the Job is made.</param>
    /// <param name="image">The image.</param>
    /// <param name="token">Cancels; a build that was begun here is removed then.</param>
    internal async Task<BroughtImage> BringAsync(
        ResourceRequest request,
        ImageBuilder.Request @base,
        string @namespace,
        string image,
        CancellationToken token
    )
    {
        // A registry that only the cluster reaches is not asked in vain twice: the build itself says what it pushed.
        if (await images.FindAsync(image, token) is { } there)
        {
            return new BroughtImage(there.Digest, null);
        }

        progress.Report($"packing the code for {image}");
        var dockerfile = KubeBuildContext.Dockerfile(@base, builder, request.Resolved.Workspace is not null);
        var pieces = await KubeBuildContext.PackAsync(@base, dockerfile, request.Resolved.Workspace, token);
        var settings = @base.Requirements.IsEmpty
            ? new Dictionary<string, string>()
            : await KubeBuildContext.SettingsAsync(request.Options.Pip, token);
        var login = await LoginAsync(image, @base.BaseImage, token);
        var manifest = new KubeBuildManifest
        {
            Builder = builder,
            Namespace = @namespace,
            Image = image,
            BaseImage = @base.BaseImage,
            PieceCount = pieces.Count,
            HasLogin = login is not null,
            HasSettings = settings.Count > 0,
            FailurePolicy = await api.IsAtLeastAsync(26, token),
        };
        for (var round = 1; ; round++)
        {
            var (job, mine) = await BeginAsync(manifest, token);
            var uid = job.Str("metadata", "uid");
            try
            {
                // Whoever made the Job may be gone before it had what it needs: each sees to all of it.
                foreach (var secret in manifest.Secrets(job, pieces, login, settings))
                {
                    await MakeAsync(KubeKind.Secret.Path(@namespace), secret, token);
                }

                var (end, digest) = await WaitAsync(manifest, uid, token);
                if (end is { ExitCode: 0 })
                {
                    return new BroughtImage(digest, VirtualEnvironment.FailedPackages(_log));
                }

                // Taken away with its Job by somebody else, who may have been through with it.
                if (end is null && await images.FindAsync(image, token) is { } pushed)
                {
                    return new BroughtImage(pushed.Digest, null);
                }

                if (round < MostRounds && (end is null || end.Fault == "RunDisrupted"))
                {
                    continue;
                }

                throw Failed(image, end);
            }
            finally
            {
                if (mine)
                {
                    await RemoveAsync(manifest, uid);
                }
            }
        }
    }

    // Made now, or found: one that failed before is no help to anybody.
    private async Task<(JsonObject Job, bool Mine)> BeginAsync(KubeBuildManifest manifest, CancellationToken token)
    {
        for (var i = 0; ; i++)
        {
            try
            {
                return (await api.CreateAsync(KubeKind.Job.Path(manifest.Namespace), manifest.Job(), token), true);
            }
            catch (KubeFault e) when (e.IsThere && i < 10)
            {
                var there = await api.FindAsync(manifest.Handle.Path, token);
                if (there is null)
                {
                    continue;
                }

                if (
                    there.Str("metadata", "labels", KubeBuildManifest.BuildLabel) != manifest.Label
                    || there.Str("metadata", "annotations", "wandb.ai/image") != manifest.Image
                )
                {
                    throw new LaunchException(
                        "RunExists",
                        LaunchErrorCategory.ResourceExists,
                        $"The namespace {manifest.Namespace} has a Job {manifest.Name} already, and it does not build {manifest.Image}. Delete it, or choose another namespace.",
                        manifest.Name
                    );
                }

                if (
                    there.Str("metadata", "deletionTimestamp") is null
                    && KubeStates.Read(there, [], KubeHints.None).End is not { ExitCode: not 0 }
                )
                {
                    progress.Report($"{manifest.Image} is built by somebody else already; waiting for it");
                    return (there, false);
                }

                await api.DeleteAsync(manifest.Handle.Path, false, there.Str("metadata", "uid"), token);
                await Task.Delay(Pause, context.Time, token);
            }
        }
    }

    private async Task<(RunOutcome? End, string? Digest)> WaitAsync(
        KubeBuildManifest manifest,
        string? uid,
        CancellationToken token
    )
    {
        (string Key, DateTimeOffset Since)? wait = null;
        var read = 0;
        while (true)
        {
            var job = await api.FindAsync(manifest.Handle.Path, token);
            if (job is null || job.Str("metadata", "uid") != uid)
            {
                return (null, null);
            }

            var (pods, _) = await api.ListAsync(
                KubeKind.Pod.Path(manifest.Namespace),
                "labelSelector=" + Uri.EscapeDataString($"{KubeBuildManifest.BuildLabel}={manifest.Label}"),
                token
            );
            var now = context.Time.GetUtcNow();
            var state = KubeStates.Read(job, pods, KubeHints.None);
            if (state.Wait is not null)
            {
                state = KubeStates.Read(job, pods, await KubeBoard.AskAsync(api, manifest.Namespace, token));
            }

            if (state.Wait is { } waits)
            {
                wait = wait is { } before && before.Key == waits.Key ? before : (waits.Key, waits.Since ?? now);
            }

            var standing = state.At(wait?.Since ?? now, now);
            var pod = KubePods.InOrder(pods) is [.., var newest] ? newest : null;
            if (pod is not null && KubePods.HasBegun(pod))
            {
                read = await ReadAsync(manifest, pod.Str("metadata", "name")!, read, token);
            }

            if (standing.End is { } end)
            {
                return (
                    end,
                    pod is null ? null
                    : KubePods.StatusOf(pod, KubeBuildManifest.Container).Str("state", "terminated", "message")?.Trim()
                        is { Length: > 0 } word
                    && word.StartsWith("sha256:", StringComparison.Ordinal)
                        ? word
                    : null
                );
            }

            if (standing.Waits)
            {
                progress.Report($"building {manifest.Image} in the cluster: {standing.Reason}");
            }

            await Task.Delay(Pause, context.Time, token);
        }
    }

    // All of it again each time: the log of a build is small, and a stream that is cut would have to be taken up.
    private async Task<int> ReadAsync(KubeBuildManifest manifest, string pod, int read, CancellationToken token)
    {
        try
        {
            using var response = await api.OpenAsync(
                $"{KubeKind.Pod.Path(manifest.Namespace, pod)}/log?container={KubeBuildManifest.Container}&limitBytes={MostLog}",
                token
            );
            var text = await response.Content.ReadAsStringAsync(token);
            var end = text.LastIndexOf('\n') + 1;
            if (end > read)
            {
                foreach (var line in text[read..end].Split('\n').Where(l => l.Trim().Length > 0))
                {
                    progress.Report("building image: " + Secrets.Mask(line.Trim()));
                }

                _log = text;
                return end;
            }
        }
        catch (Exception e) when (e is KubeFault || KubeFault.IsAway(e))
        {
            // Read at the next look, if it is there then.
        }

        return read;
    }

    private LaunchException Failed(string image, RunOutcome? end) =>
        new(
            end?.Fault == "RegistryUnavailable" ? end.Fault : "ImageBuildFailed",
            LaunchErrorCategory.InvalidData,
            $"The image {image} could not be built in the cluster: {Secrets.Mask(end?.Reason ?? (end?.ExitCode is { } code ? $"{builder.Name} ended with exit code {code}" : "its Job was removed again and again"))}. {(_log.Length > 0 ? $"Last lines: {VirtualEnvironment.Tail(Log, 8)}" : "It printed nothing.")}",
            image
        );

    private async Task MakeAsync(string path, JsonObject manifest, CancellationToken token)
    {
        try
        {
            await api.CreateAsync(path, manifest, token);
        }
        catch (KubeFault e) when (e.IsThere)
        {
            var one = $"{path}/{manifest.Str("metadata", "name")}";
            if (
                await api.FindAsync(one, token) is not { } there
                || there.Maps("metadata", "ownerReferences").FirstOrDefault().Str("uid")
                    != manifest.Maps("metadata", "ownerReferences").First().Str("uid")
            )
            {
                // Of a Job that is gone: its time is over, and the cluster is about to remove it.
                await api.DeleteAsync(one, false, null, token);
                await api.CreateAsync(path, manifest, token);
            }
        }
    }

    private async Task RemoveAsync(KubeBuildManifest manifest, string? uid)
    {
        try
        {
            await api.DeleteAsync(manifest.Handle.Path, false, uid, CancellationToken.None);
        }
        catch (Exception e) when (e is KubeFault || KubeFault.IsAway(e))
        {
            // Its time to live ends in an hour.
        }
    }

    // docker's own logins of this machine, for the registries that the build speaks to, and no others.
    private async Task<string?> LoginAsync(string image, string basis, CancellationToken token)
    {
        var auths = new JsonObject();
        foreach (var name in new[] { image, basis })
        {
            if (await RegistryLogin.ForAsync(context.Environment, name, token) is { } login)
            {
                auths[login.ServerAddress] = login.IdentityToken is { Length: > 0 } refresh
                    ? new JsonObject { ["identitytoken"] = refresh }
                    : new JsonObject
                    {
                        ["auth"] = Secrets.Register(
                            Convert.ToBase64String(Encoding.UTF8.GetBytes($"{login.Username}:{login.Password}"))
                        ),
                    };
            }
        }

        return auths.Count == 0 ? null : new JsonObject { ["auths"] = auths }.ToJsonString();
    }
}
