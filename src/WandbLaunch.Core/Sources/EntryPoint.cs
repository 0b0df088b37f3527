using System.Text;
using WandbLaunch.Foundation;

namespace WandbLaunch.Sources;

/// <summary>Which program a command runs, and with which command a program is run (protocol D.2, steps 7 and 10; D.3, last row).</summary>
internal static class EntryPoint
{
    /// <summary>What is run where nothing says it.</summary>
    internal const string DefaultProgram = "main.py";

    /// <summary>What stands between pwsh and a script: no profile, no questions.</summary>
    internal static IReadOnlyList<string> ScriptWords { get; } = ["-NoProfile", "-NonInteractive", "-File"];

    /// <summary>The first program file among a command's words.</summary>
    internal static string? ProgramOf(IEnumerable<string> words) =>
        words.FirstOrDefault(w =>
            w.EndsWith(".py", StringComparison.Ordinal)
            || w.EndsWith(".sh", StringComparison.Ordinal)
            || w.EndsWith(".ps1", StringComparison.Ordinal)
        );

    /// <summary>The command for a program of a workspace. A notebook becomes a script in a copy of the workspace.</summary>
    internal static IReadOnlyList<string> Command(string program, ref string workspace, Func<string> scratch)
    {
        switch (Path.GetExtension(program))
        {
            case ".py":
                return ["python", program];
            case ".sh":
                return ["bash", program];
            case ".ps1":
                return [program];
            case ".ipynb":
                (workspace, var script) = Script(program, workspace, scratch());
                return ["python", script];
            default:
                throw new LaunchException(
                    "EntryPointUnsupported",
                    LaunchErrorCategory.InvalidData,
                    $"'{program}' is neither a .py, .sh, .ps1 nor .ipynb program. Say how to run it with -EntryPoint, such as -EntryPoint 'python {program}'.",
                    program
                );
        }
    }

    /// <summary>Throws where the program of a command is not there: its first word if that is one, else its second.</summary>
    internal static void Check(IReadOnlyList<string> command, string workspace)
    {
        if (command.Count == 0)
        {
            throw new LaunchException(
                "EntryPointMissing",
                LaunchErrorCategory.InvalidArgument,
                "The entry point is empty. Give the command, such as -EntryPoint 'python train.py'.",
                null
            );
        }

        if (ProgramOf(command.Take(2)) is { } program && !SourceFiles.Has(workspace, program, "entry point"))
        {
            throw Missing(program);
        }
    }

    /// <summary>The path inside its repository of the program that a run recorded.</summary>
    internal static string Recorded(RunMetadata metadata, string? program, string what)
    {
        if (program is null or "" or "<python with no main file>")
        {
            throw new LaunchException(
                "EntryPointMissing",
                LaunchErrorCategory.ObjectNotFound,
                $"The {what} does not say which program it ran. Give it with -EntryPoint.",
                what
            );
        }

        var path = program.Replace('\\', '/');
        var origin = metadata.Root?.Replace('\\', '/').TrimEnd('/') + "/";
        path = origin.Length > 1 && path.StartsWith(origin, StringComparison.Ordinal) ? path[origin.Length..] : path;
        path = path.StartsWith("./", StringComparison.Ordinal) ? path[2..] : path;
        return SafePath.Fault(path) is { } fault
            ? throw new LaunchException(
                "PathOutside",
                LaunchErrorCategory.SecurityError,
                $"The program '{program}' of the {what} is refused: {fault}. Give its path inside the repository with -EntryPoint.",
                program
            )
            : path;
    }

    private static (string Workspace, string Script) Script(string program, string workspace, string copy)
    {
        byte[] notebook;
        using (var source = SafeFolder.Open(workspace))
        {
            notebook = source.ReadAllBytes(program, "entry point", SourceFiles.SmallFile) ?? throw Missing(program);
        }

        var text = Notebook.ToScript(notebook, program);
        Workspace.CopyPlain(workspace, copy, CancellationToken.None);
        var script = Path.ChangeExtension(program, ".py").Replace('\\', '/');
        using var target = SafeFolder.Open(copy);

        // Where the notebook's own folder is a link, the script stands beside the notebook, as it did for the run.
        var at = script.LastIndexOf('/');
        var place = at < 0 ? script : target.RealPath(script[..at], "entry point") + script[at..];
        using var output = target.Replace(place.TrimStart('/'), "notebook's script");
        output.Write(Encoding.UTF8.GetBytes(text));
        return (copy, script);
    }

    private static LaunchException Missing(string program) =>
        new(
            "EntryPointNotFound",
            LaunchErrorCategory.ObjectNotFound,
            $"There is no file '{program}' in the source. Name the program with -EntryPoint, relative to the root of the repository or folder.",
            program
        );
}
