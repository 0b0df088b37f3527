using System.Text;
using WandbLaunch.Foundation;
using WandbLaunch.Resources;

namespace WandbLaunch.Python;

/// <summary>A virtual environment for each (python, requirements), made once and kept in the cache.</summary>
internal static class VirtualEnvironment
{
    /// <summary>The interpreter that fits a version best: <c>python3.11</c>, then <c>python3</c>, <c>python</c>, on Windows <c>py -3.11</c>.</summary>
    internal static (string Path, string? Warning) FindPython(string? version)
    {
        var wanted = version is null ? null : string.Join('.', version.Split('.').Take(2));
        var names = new List<string>();
        if (wanted is not null)
        {
            names.Add("python" + wanted);
            if (OperatingSystem.IsWindows() && PyLauncher(wanted) is { } found)
            {
                return (found, null);
            }
        }

        names.AddRange(OperatingSystem.IsWindows() ? ["python", "python3"] : ["python3", "python"]);
        foreach (var name in names)
        {
            if (OnPath(name) is { } path)
            {
                return (
                    path,
                    wanted is not null
                    && wanted.Contains('.', StringComparison.Ordinal)
                    && name != "python" + wanted
                    && VersionOf(path) is { } actual
                    && actual != wanted
                        ? $"the run used Python {version}; this machine has {actual} ({path})"
                        : null
                );
            }
        }

        throw new LaunchException(
            "PythonNotFound",
            LaunchErrorCategory.ResourceUnavailable,
            $"There is no Python{(wanted is null ? "" : " " + wanted)} on this machine's PATH. Install it, or launch with -Resource local-container.",
            "python"
        );
    }

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
        Action<string> progress,
        CancellationToken token
    )
    {
        var folder = FolderFor(cache, python, requirements);
        using var gate = await FileLock.EnterAsync(folder + ".lock", token);
        var inside = PythonIn(folder);
        if (File.Exists(Path.Combine(folder, "wandblaunch-ready")))
        {
            LaunchCache.Touch(folder);
            return (inside, null);
        }

        LaunchCache.DeleteFolder(folder);
        try
        {
            progress("making a virtual environment");
            var uv = OnPath("uv");
            string[] make = uv is not null
                ? [uv, "venv", "--python", python, "--seed", folder]
                : [python, "-m", "venv", folder];
            var (code, text) = await RunAsync(make, [], null, token);
            if (code != 0 && requirements.IsEmpty)
            {
                // Nothing is to be installed, so the interpreter alone does.
                LaunchCache.DeleteFolder(folder);
                return (
                    python,
                    "this Python cannot make virtual environments (on Debian and Ubuntu: apt install python3-venv); it is used as it is"
                );
            }

            if (code != 0)
            {
                throw new LaunchException(
                    "VenvFailed",
                    LaunchErrorCategory.ResourceUnavailable,
                    $"{python} cannot make a virtual environment: {Tail(text, 3)} On Debian and Ubuntu install python3-venv; or use -NoInstall.",
                    python
                );
            }

            string? warning = null;
            if (!requirements.IsEmpty)
            {
                progress($"installing {requirements.Lines.Count} packages");
                var list = Path.Combine(folder, "requirements.wandblaunch.txt");
                var bootstrap = Path.Combine(folder, "wandblaunch_bootstrap.py");
                await File.WriteAllTextAsync(list, requirements.Text, new UTF8Encoding(false), token);
                await File.WriteAllTextAsync(bootstrap, PipSettings.Bootstrap, token);
                (code, text) = await RunAsync(
                    [inside, bootstrap, list, requirements.Frozen ? "frozen" : "strict"],
                    pip.Environment(pip.ConfigFile, pip.FindLinks),
                    progress,
                    token
                );
                if (code != 0)
                {
                    throw new LaunchException(
                        "RequirementsFailed",
                        LaunchErrorCategory.InvalidData,
                        $"pip could not install the requirements: {Tail(text, 6)} Check the list, the index (-PipIndexUrl, -PipFindLinks), or use -NoInstall.",
                        "requirements.txt"
                    );
                }

                warning = FailedPackages(text);
            }

            await File.WriteAllTextAsync(Path.Combine(folder, "wandblaunch-ready"), warning ?? "", token);
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

    /// <summary>The packages that the bootstrap left out (the text of reference E.2), as a warning.</summary>
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
        var real = new FileInfo(python).ResolveLinkTarget(true)?.FullName ?? python;
        return $"{python}\n{real}\n{new FileInfo(real).Length}";
    }

    private static string? PyLauncher(string version)
    {
        if (OnPath("py") is not { } launcher)
        {
            return null;
        }

        var (code, text) = RunAsync(
                [launcher, "-" + version, "-c", "import sys; print(sys.executable)"],
                [],
                null,
                CancellationToken.None
            )
            .GetAwaiter()
            .GetResult();
        return code == 0 && File.Exists(text.Trim()) ? text.Trim() : null;
    }

    private static string? VersionOf(string python)
    {
        var (code, text) = RunAsync(
                [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
                [],
                null,
                CancellationToken.None
            )
            .GetAwaiter()
            .GetResult();
        return code == 0 ? text.Trim() : null;
    }

    private static async Task<(int Code, string Text)> RunAsync(
        string[] command,
        Dictionary<string, string> environment,
        Action<string>? progress,
        CancellationToken token
    )
    {
        var output = new StringBuilder();
        var observer = new TextObserver(output, progress);
        var spec = new RunSpec
        {
            Id = "install-" + Guid.NewGuid().ToString("n"),
            Resource = "local-process",
            Command = command,
            WorkingFolder = Path.GetTempPath(),
            StopGraceSeconds = 1,
        };
        var outcome = await new LocalProcessRunner().RunAsync(spec, environment, observer, token);
        token.ThrowIfCancellationRequested();
        return (outcome.ExitCode ?? -1, output.ToString());
    }

    private sealed class TextObserver(StringBuilder output, Action<string>? progress) : IRunObserver
    {
        public void Started(int? processId, string? containerId) { }

        public void Output(ReadOnlySpan<byte> bytes)
        {
            var text = Encoding.UTF8.GetString(bytes);
            lock (output)
            {
                output.Append(text);
                if (output.Length > 1 << 20)
                {
                    output.Remove(0, output.Length - (1 << 19));
                }
            }

            if (
                progress is not null
                && text.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
                    is [.., var last]
            )
            {
                progress(last);
            }
        }
    }
}
