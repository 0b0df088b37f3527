using System.Runtime.CompilerServices;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Sources;

/// <summary>Makes of a launch config what a queue can store: an agent on any machine must be able to run it.</summary>
internal static class QueueSpec
{
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
        foreach (var other in config.Git?.Extra ?? [])
        {
            RefuseLogin(other.Value.ToString());
        }

        if (SourceCatalog.Named(config, workingFolder, parse) is not [var source, ..])
        {
            throw new LaunchException(
                "SourceMissing",
                LaunchErrorCategory.InvalidArgument,
                "There is nothing to queue: give a run's address, a git URL, a job, or a docker image (-DockerImage).",
                null
            );
        }

        var project = config.Project ?? source.Project ?? ResolvedRun.NoProject;
        config = source.ForQueue(config, appUrl);
        return config with { Entity = config.Entity ?? entity, Project = project };
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
