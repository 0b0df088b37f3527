using System.Text.RegularExpressions;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Python;

namespace WandbLaunch.Sources;

/// <summary>What the files of a source say about how it is run.</summary>
internal static partial class SourceFiles
{
    /// <summary>Bytes of a file that is read whole.</summary>
    internal const long SmallFile = 16L << 20;

    // A link counts when it leads to a file of the same source.
    internal static bool Has(string folder, string name, string what = "file")
    {
        using var opened = SafeFolder.Open(folder);
        return opened.FileExists(name, what);
    }

    internal static string? Requirements(string folder)
    {
        using var opened = SafeFolder.Open(folder);
        return opened.ReadText("requirements.txt", "requirements file", SmallFile);
    }

    /// <summary>The Python version that a project asks for: runtime.txt, else the first line of .python-version (protocol D.3).</summary>
    internal static string? PythonVersion(string folder)
    {
        using var opened = SafeFolder.Open(folder);
        foreach (var name in new[] { "runtime.txt", ".python-version" })
        {
            // Only the number is taken, so that nothing else of the file stands in a message.
            if (
                opened.Kind(name, "version file") == EntryKind.File
                && opened.ReadText(name, "version file", 1 << 16) is { } text
                && Number().Match(text.Split('\n')[0].Trim()) is { Success: true } version
            )
            {
                return version.Groups[1].Value;
            }
        }

        return null;
    }

    /// <summary>The run of code that nobody ran before: a repository or a folder.</summary>
    internal static ResolvedRun Run(string shown, string workspace, LaunchConfig config, ResolveContext context)
    {
        if (!context.NoInstall && config.DockerImage is null && !Has(workspace, "requirements.txt"))
        {
            throw RequirementsMissing(Secrets.Mask(shown), workspace);
        }

        var folder = workspace;
        var entry =
            config.EntryPoint ?? EntryPoint.Command(EntryPoint.DefaultProgram, ref folder, context.ScratchFolder);
        EntryPoint.Check(entry, folder);
        var requirements = RequirementSet.Create(null, folder);
        return new ResolvedRun
        {
            Workspace = folder,
            EntryPoint = entry,
            Arguments = ArgumentSet.Apply([], config.Args),
            PythonVersion = PythonVersion(folder),
            Requirements = requirements,
            Warnings = requirements.Warnings,
        };
    }

    /// <summary>The entry point of a job: the one that was chosen, else the default, which is said.</summary>
    internal static IReadOnlyList<string> JobEntry(
        JobRequest request,
        string workspace,
        string? subfolder,
        ResolveContext context
    )
    {
        var entry = request.EntryPoint;
        if (entry is null)
        {
            var program = (subfolder is null ? "" : subfolder + "/") + EntryPoint.DefaultProgram;
            context.Warn($"No entry point was given: the job runs {program}.");
            entry = ["python", program];
        }

        EntryPoint.Check(entry, workspace);
        return entry;
    }

    /// <summary>Major and minor version, as a job has it.</summary>
    internal static string JobPython(string? version) =>
        version is null
            ? "3"
            : string.Join('.', version.Replace("python-", "", StringComparison.Ordinal).Split('.').Take(2));

    internal static LaunchException RequirementsMissing(string what, string workspace) =>
        new(
            "RequirementsMissing",
            LaunchErrorCategory.ObjectNotFound,
            $"{what} has no requirements.txt, so its packages are not known."
                + (Has(workspace, "environment.yml") ? " It has an environment.yml; export it with 'pip freeze'." : "")
                + " Add one at the root (it may be empty), use -NoInstall to take the packages that are there, or give an image with -DockerImage.",
            what
        );

    [GeneratedRegex(@"^(?:python-)?([0-9]{1,4}(?:\.[0-9]{1,4}){0,3})")]
    private static partial Regex Number();
}
