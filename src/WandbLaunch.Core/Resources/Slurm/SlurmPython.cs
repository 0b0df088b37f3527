using System.Text;
using System.Text.RegularExpressions;
using WandbLaunch.Foundation;
using WandbLaunch.Python;
using WandbLaunch.Sources;

namespace WandbLaunch.Resources;

/// <summary>Which Python a run has on the cluster, and with which packages.</summary>
internal static partial class SlurmPython
{
    /// <summary>Makes the environment on the login node, where its Python will do; a node with another makes its own. Nodes often reach no package index.</summary>
    /// <exception cref="LaunchException"><c>RequirementsFailed</c>, <c>SlurmFolderFailed</c>.</exception>
    internal static async Task PrepareAsync(PrepareContext context, SlurmSite site, CancellationToken token)
    {
        var (requirements, pip) = (context.Resolved.Requirements, context.Options.Pip);
        var (root, _) = await site.OpenAsync(token);
        context.Progress.Report(
            requirements.IsEmpty
                ? $"making a virtual environment on {site.Name}"
                : $"installing {requirements.Lines.Count} packages on {site.Name}"
        );
        var settings = SlurmBatch.Variables(pip.Environment(pip.ConfigFile, pip.FindLinks));
        await site.RunAsync(
            SlurmScripts.TakePip,
            [root, context.Id],
            (stream, t) => stream.WriteAsync(Encoding.UTF8.GetBytes(settings), t).AsTask(),
            TimeSpan.FromMinutes(2),
            token
        );
        var result = await site.RunAsync(
            SlurmScripts.Prepare,
            [
                root,
                HashOf(context.Resolved),
                VersionOf(context.Resolved) ?? "",
                requirements.Frozen ? "frozen" : "strict",
                context.Id,
                PipSettings.Bootstrap,
            ],
            (stream, t) =>
                stream.WriteAsync(Encoding.UTF8.GetBytes(requirements.IsEmpty ? "" : requirements.Text), t).AsTask(),
            Timeout.InfiniteTimeSpan,
            token
        );
        switch (result.ExitCode)
        {
            case 0:
                if (VirtualEnvironment.FailedPackages(result.Output) is { } failed)
                {
                    context.Warnings.Add(failed);
                }

                break;
            case 65:
                throw new LaunchException(
                    "RequirementsFailed",
                    LaunchErrorCategory.InvalidData,
                    $"pip could not install the requirements on {site.Name}: {Secrets.Mask(string.Join(" | ", SlurmSite.Lines(result.Output).TakeLast(6)))} Check the list, the index (-PipIndexUrl, -PipFindLinks), or use -NoInstall.",
                    "requirements.txt"
                );
            case 71 or 72:
                // The node that runs it has its own Python, and says so if not.
                break;
            default:
                throw new LaunchException(
                    "SlurmFolderFailed",
                    LaunchErrorCategory.WriteError,
                    $"The virtual environment could not be made in {root} on {site.Name}: {SlurmSite.Last(result.Error + result.Output)} Is there room ('df', 'quota')? Choose another folder with -SlurmFolder.",
                    root
                );
        }
    }

    /// <summary>The program is Python's.</summary>
    internal static bool IsPython(ResolvedRun resolved) =>
        resolved.EntryPoint is [var program, ..]
        && (PythonName().IsMatch(program) || program.EndsWith(".py", StringComparison.Ordinal));

    /// <summary>An environment is made for it.</summary>
    internal static bool NeedsEnvironment(ResourceRequest request) =>
        request.Config.DockerImage is null
        && !request.Options.NoInstall
        && (!request.Resolved.Requirements.IsEmpty || IsPython(request.Resolved));

    /// <summary>The version that it was made with, as 3.11.</summary>
    internal static string? VersionOf(ResolvedRun resolved) =>
        resolved.PythonVersion is { } version ? string.Join('.', version.Split('.').Take(2)) : null;

    /// <summary>Names its environment. Without packages all are one; which Python is part of the folder's name on the node.</summary>
    internal static string HashOf(ResolvedRun resolved) =>
        LaunchCache.Hash(
            VersionOf(resolved) + "\n" + (resolved.Requirements.IsEmpty ? "" : resolved.Requirements.Hash)
        )[..24];

    /// <summary>The program, as a node finds it: the environment's Python, its shells.</summary>
    internal static List<string> Entry(ResolvedRun resolved)
    {
        var entry = resolved.EntryPoint.ToList();
        if (entry.Count == 0)
        {
            return entry;
        }

        if (PythonName().IsMatch(entry[0]) && resolved.Workspace is not null)
        {
            entry[0] = "python";
        }
        else if (entry[0].EndsWith(".py", StringComparison.Ordinal))
        {
            entry.Insert(0, "python");
        }
        else if (entry[0].EndsWith(".sh", StringComparison.Ordinal))
        {
            entry.Insert(0, "bash");
        }
        else if (entry[0].EndsWith(".ps1", StringComparison.Ordinal))
        {
            entry.InsertRange(0, ["pwsh", .. EntryPoint.ScriptWords]);
        }

        return entry;
    }

    [GeneratedRegex(@"^python(3(\.\d+)?)?$")]
    private static partial Regex PythonName();
}
