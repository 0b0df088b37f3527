using System.Text;
using WandbLaunch.Foundation;

namespace WandbLaunch.Python;

/// <summary>A virtual environment for each (python, requirements), made once and kept in the cache.</summary>
internal static class VirtualEnvironment
{
    internal static string? OnPath(string name) => ProgramPath.Find(name);

    internal static string FolderFor(LaunchCache cache, string python, RequirementSet requirements) =>
        cache.VenvFolder(Identity(python) + "\n" + requirements.Hash);

    internal static string PythonIn(string folder) =>
        OperatingSystem.IsWindows()
            ? Path.Combine(folder, "Scripts", "python.exe")
            : Path.Combine(folder, "bin", "python");

    /// <summary>Gives the environment's interpreter, making the environment when it is not there yet.</summary>
    internal static async Task<(string Python, string? Warning)> EnsureAsync(
        LaunchCache cache,
        string python,
        RequirementSet requirements,
        PipSettings pip,
        IProgress<LaunchProgress> progress,
        CancellationToken token
    )
    {
        var folder = FolderFor(cache, python, requirements);
        using var held = await FileLock.EnterAsync(folder + ".lock", token);
        var inside = PythonIn(folder);
        if (File.Exists(Path.Combine(folder, "wandblaunch-ready")))
        {
            LaunchCache.Touch(folder);
            return (inside, null);
        }

        LaunchCache.DeleteFolder(folder);
        try
        {
            progress.Report("creating the environment");
            var uv = OnPath("uv");
            string[] make = uv is not null
                ? [uv, "venv", "--python", python, "--seed", folder]
                : [python, "-m", "venv", folder];
            var maker = new ExternalProgram(make) { Merged = true };
            var made = await maker.RunAsync(token);
            if (!made.Succeeded && requirements.IsEmpty)
            {
                // Nothing is to be installed, so the interpreter alone does.
                LaunchCache.DeleteFolder(folder);
                return (
                    python,
                    "this Python cannot make virtual environments (on Debian and Ubuntu: apt install python3-venv); it is used as it is"
                );
            }

            if (!made.Succeeded)
            {
                throw new LaunchException(
                    "VenvFailed",
                    LaunchErrorCategory.ResourceUnavailable,
                    $"{python} cannot make a virtual environment: {maker.Tail(made.Output, 3)} On Debian and Ubuntu install python3-venv; or use -NoInstall.",
                    python
                );
            }

            string? warning = null;
            if (!requirements.IsEmpty)
            {
                progress.Report(PipOutput.Count(requirements.Lines.Count));
                var list = Path.Combine(folder, "requirements.wandblaunch.txt");
                var bootstrap = Path.Combine(folder, "wandblaunch_bootstrap.py");
                await File.WriteAllTextAsync(list, requirements.Text, new UTF8Encoding(false), token);
                await File.WriteAllTextAsync(bootstrap, PipSettings.Bootstrap, token);
                var installer = new ExternalProgram(inside, bootstrap, list, requirements.Frozen ? "frozen" : "strict")
                {
                    Environment = pip.Environment(pip.ConfigFile, pip.FindLinks)
                        .ToDictionary(v => v.Key, v => (string?)v.Value),
                    Merged = true,
                    Said = new PipOutput(progress).Add,
                };
                var installed = await installer.RunAsync(token);
                if (!installed.Succeeded)
                {
                    throw Failed(
                        cache,
                        folder,
                        installer.Masked(installed.Output),
                        "",
                        "Check the list, the index (-PipIndexUrl, -PipFindLinks), or use -NoInstall."
                    );
                }

                warning = FailedPackages(installed.Output);
            }

            await File.WriteAllTextAsync(Path.Combine(folder, "wandblaunch-ready"), warning ?? "", token);
            LaunchCache.DeleteFolder(cache.FailureFolder(folder));
            return (inside, warning);
        }
        catch (Exception e)
        {
            LaunchCache.DeleteFolder(folder);
            if (DiskFull.Explain(e, folder) is { } full)
            {
                throw full;
            }

            throw;
        }
    }

    /// <summary>Requirements that could not be installed: one line of why, and where the rest of what pip said is kept.</summary>
    /// <param name="cache">Keeps it, as an entry that goes with the others.</param>
    /// <param name="key">What was being made.</param>
    /// <param name="output">What pip said, without secrets.</param>
    /// <param name="where">Such as " in python:3.11"; may be empty.</param>
    /// <param name="advice">What to do now.</param>
    internal static LaunchException Failed(LaunchCache cache, string key, string output, string where, string advice)
    {
        string? log = null;
        try
        {
            log = Path.Combine(FileModes.CreatePrivateFolder(cache.FailureFolder(key)), "install.log");
            FileModes.WritePrivate(log, output);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The cause is in the message all the same.
        }

        return new LaunchException(
            "RequirementsFailed",
            LaunchErrorCategory.InvalidData,
            $"pip could not install the requirements{where}: {PipOutput.Cause(output)}. {advice}{(log is null ? "" : $" All that pip said: {log}")}",
            "requirements.txt"
        );
    }

    /// <summary>The packages that the bootstrap left out (the text of protocol E.2), as a warning.</summary>
    internal static string? FailedPackages(string text)
    {
        const string Head = "ERROR: Failed to install: ";
        var at = text.IndexOf(Head, StringComparison.Ordinal);
        var end = at < 0 ? -1 : text.IndexOf(". During automated build process.", at, StringComparison.Ordinal);
        return end < 0
            ? null
            : $"these packages of the original run could not be installed: {text[(at + Head.Length)..end]}";
    }

    internal static string Tail(string text, int lines) =>
        Secrets.Mask(
            string.Join(
                " | ",
                text.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).TakeLast(lines)
            )
        );

    private static string Identity(string python)
    {
        var real = SafePath.RealPath(python);
        return $"{python}\n{real}\n{new FileInfo(real).Length}";
    }
}
