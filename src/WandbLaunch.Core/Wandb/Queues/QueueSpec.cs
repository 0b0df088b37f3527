using System.Runtime.CompilerServices;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Wandb;

/// <summary>Makes of a launch config what a queue can store: an agent on any machine must be able to run it.</summary>
internal static class QueueSpec
{
    /// <summary>What an item launches. Anyone can queue anything, so no part of it need have its shape.</summary>
    internal static string? SourceOf(JsonObject? spec) =>
        (spec?["uri"] ?? spec?["job"] ?? (spec?["docker"] as JsonObject)?["docker_image"])?.ToString();

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static LaunchConfig From(
        LaunchConfig config,
        string entity,
        string appUrl,
        string workingFolder,
        Func<string, LaunchUri>? parse = null
    )
    {
        RefuseLogin(config.Uri);
        RefuseLogin(config.GitRepo);
        RefuseLogin(config.Job);
        RefuseLogin(config.Extra?["git"]?.ToString());
        var project = config.Project;
        if (config.Uri is { } text)
        {
            var uri = parse?.Invoke(text) ?? LaunchUri.Parse(text, workingFolder);
            if (uri.Kind is LaunchUriKind.LocalFolder or LaunchUriKind.OfflineRun)
            {
                throw new LaunchException(
                    "FolderCannotBeQueued",
                    LaunchErrorCategory.InvalidArgument,
                    uri.Kind == LaunchUriKind.LocalFolder
                        ? $"The folder {uri.Location} is only on this machine, and the agent may run on another, so it cannot be queued. Push it to git and queue the git URL, make a job of it (New-WandbLaunchJob '{uri.Location}' | Add-WandbLaunchQueueItem), or run it here with Start-WandbLaunch."
                        : $"The run folder {uri.Location} is only on this machine, and the agent may run on another, so it cannot be queued. Import it first: Import-WandbRun '{uri.Location}' | Add-WandbLaunchQueueItem.",
                    text
                );
            }

            project ??= uri.Project;
            if (uri is { Kind: LaunchUriKind.WandbRun, RunHost: null })
            {
                // A bare path means this server; an agent elsewhere, or of another kind, is told so.
                config = config with
                {
                    Uri = $"{appUrl}/{uri.Run.Entity}/{uri.Run.Project}/runs/{uri.Run.Id}",
                };
            }
        }
        else if (config.Job is { } job)
        {
            project ??= JobPath.Parse(job).Project;
        }
        else if (config.DockerImage is null)
        {
            throw new LaunchException(
                "SourceMissing",
                LaunchErrorCategory.InvalidArgument,
                "There is nothing to queue: give a run's address, a git URL, a job, or a docker image (-DockerImage).",
                null
            );
        }

        return config with
        {
            Entity = config.Entity ?? entity,
            Project = project ?? "uncategorized",
        };
    }

    /// <summary>A queue shows its items to everyone who can read it, and keeps them.</summary>
    /// <exception cref="LaunchException"><c>LoginInQueuedUri</c>.</exception>
    internal static void RefuseLogin(string? address)
    {
        if (address is not null && Secrets.HasLogin(address))
        {
            var shown = Secrets.MaskLogins(address);
            throw new LaunchException(
                "LoginInQueuedUri",
                LaunchErrorCategory.SecurityError,
                $"{shown} holds a password or token, and everyone who can read the queue would see it. Queue the address without it and let the machine that runs it log in: git's credential helper there (git config --global credential.helper …, or Git Credential Manager), or ssh (git@host:owner/repository). -GitCredential is for launches of this shell. If that token was queued before, revoke it.",
                shown
            );
        }
    }
}
