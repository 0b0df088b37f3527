using WandbLaunch.Foundation;

namespace WandbLaunch.Python;

/// <summary>Finds the interpreter that fits a run. Looked for only where one is needed.</summary>
internal static class PythonFinder
{
    private const string Ask = "import sys; print('%d.%d' % sys.version_info[:2]); print(sys.executable)";

    /// <summary>The interpreter that fits a version best: <c>python3.11</c>, on Windows first <c>py -3.11</c>, then <c>python3</c>, <c>python</c>; at last one that uv has.</summary>
    internal static async Task<(string Path, string? Warning)> FindAsync(string? version, CancellationToken token)
    {
        var wanted = version is null ? null : string.Join('.', version.Split('.').Take(2));
        var exact = wanted is null ? null : "python" + wanted;
        if (OperatingSystem.IsWindows() && wanted is not null && await LauncherAsync(wanted, token) is { } launched)
        {
            return (launched, null);
        }

        string[] usual = OperatingSystem.IsWindows() ? ["python", "python3"] : ["python3", "python"];
        foreach (var name in exact is null ? usual : [exact, .. usual])
        {
            if (ProgramPath.Find(name) is { } path)
            {
                return (path, name == exact ? null : await MismatchAsync(path, version, wanted, token));
            }
        }

        // An app of the Store is reached by an alias only. The alias that Windows brings looks the same, answers nothing and would open the Store.
        var aliases = usual.Select(ProgramPath.FindAlias).OfType<string>().ToList();
        foreach (var alias in aliases)
        {
            if (await AskAsync([alias, "-c", Ask], token) is [_, var real] && File.Exists(real))
            {
                return (real, await MismatchAsync(real, version, wanted, token));
            }
        }

        if (OperatingSystem.IsWindows() && await LauncherAsync("3", token) is { } newest)
        {
            return (newest, await MismatchAsync(newest, version, wanted, token));
        }

        if (
            ProgramPath.Find("uv") is { } uv
            && (
                await AskAsync([uv, "python", "find", "--no-project", wanted ?? "3"], token)
                ?? await AskAsync([uv, "python", "find", "--no-project"], token)
            )
                is [.., var managed]
            && File.Exists(managed)
        )
        {
            return (managed, await MismatchAsync(managed, version, wanted, token));
        }

        throw new LaunchException(
            "PythonNotFound",
            LaunchErrorCategory.ResourceUnavailable,
            $"There is no Python{(wanted is null ? "" : " " + wanted)} on this machine's PATH. {(aliases.Count > 0 ? $"{aliases[0]} is no Python: it only opens the Microsoft Store. " : "")}Install it, or launch with another -Resource, such as a container.",
            "python"
        );
    }

    private static async Task<string?> LauncherAsync(string version, CancellationToken token) =>
        ProgramPath.Find("py") is { } launcher
        && await AskAsync([launcher, "-" + version, "-c", Ask], token) is [_, var path]
        && File.Exists(path)
            ? path
            : null;

    private static async Task<string?> MismatchAsync(
        string python,
        string? version,
        string? wanted,
        CancellationToken token
    ) =>
        wanted is not null
        && wanted.Contains('.', StringComparison.Ordinal)
        && await AskAsync([python, "-c", Ask], token) is [var actual, ..]
        && actual != wanted
            ? $"the run used Python {version}; this machine has {actual} ({python})"
            : null;

    // What does not answer is not asked for ever; it then counts as one that says nothing.
    private static async Task<string[]?> AskAsync(string[] words, CancellationToken token)
    {
        try
        {
            var answer = await new ExternalProgram(words) { TimeLimit = TimeSpan.FromSeconds(15) }.RunAsync(token);
            return answer.Succeeded
                ? answer.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
                : null;
        }
        catch (LaunchException)
        {
            return null;
        }
    }
}
