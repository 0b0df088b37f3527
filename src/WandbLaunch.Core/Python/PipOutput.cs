using System.Text;
using System.Text.RegularExpressions;
using WandbLaunch.Foundation;

namespace WandbLaunch.Python;

/// <summary>
/// What pip says, for people: what it does, package by package, while it works, and one line of why when it fails. Its
/// raw lines are for the log.
/// </summary>
internal sealed partial class PipOutput(IProgress<LaunchProgress> progress)
{
    private const int MostCause = 300;

    private readonly object _lock = new();
    private readonly StringBuilder _line = new();
    private int _retries;
    private string _shown = "";

    /// <summary>Takes the next piece of its output; from any thread.</summary>
    internal void Add(string text)
    {
        lock (_lock)
        {
            foreach (var c in text)
            {
                if (c is not ('\n' or '\r'))
                {
                    _line.Append(c);
                    continue;
                }

                Read(_line.ToString().Trim());
                _line.Clear();
            }
        }
    }

    /// <summary>Why it failed, in one line, from all that it said.</summary>
    internal static string Cause(string output)
    {
        var lines = output.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        var errors = lines
            .Where(l => l.StartsWith("ERROR: ", StringComparison.Ordinal))
            .Select(l => l[7..])
            // The bootstrap's own last word says which, and not why.
            .Where(l => !l.StartsWith("Failed to install:", StringComparison.Ordinal))
            .ToList();
        var connection = lines.Select(l => Broken().Match(l)).LastOrDefault(m => m.Success);
        var missing = errors.LastOrDefault(e => e.StartsWith("No matching distribution", StringComparison.Ordinal));

        // An index that was never reached has no versions; what it would have had, nobody knows.
        var cause =
            connection is not null
            && (missing is null || lines.Any(l => l.EndsWith("(from versions: none)", StringComparison.Ordinal)))
                ? $"the package index cannot be reached ({Reason(connection.Groups[1].Value)})"
                : errors.Select(e => Telling().Match(e)).LastOrDefault(m => m.Success)?.Value
                    ?? missing
                    ?? errors.LastOrDefault()
                    ?? lines.LastOrDefault()
                    ?? "pip said nothing";
        cause = cause.TrimEnd('.', ' ');
        return cause.Length > MostCause ? cause[..MostCause] + "…" : cause;
    }

    private void Read(string line)
    {
        if (line.StartsWith("WARNING: Retrying", StringComparison.Ordinal))
        {
            _retries++;
            Show($"the package index does not answer, trying again ({_retries})");
        }
        else if (Step().Match(line) is { Success: true } step)
        {
            var what = step.Groups[2].Value;
            Show(
                step.Groups[1].Value switch
                {
                    "Collecting" or "Processing" => $"collecting {what[(what.LastIndexOf('/') + 1)..]}",
                    "Downloading" or "Using cached" => $"downloading {what[(what.LastIndexOf('/') + 1)..]}",
                    "Installing collected packages:" => Count(what.Split(',').Length),
                    _ => $"building {what}",
                }
            );
        }
    }

    private void Show(string text)
    {
        if (text != _shown)
        {
            _shown = text;
            progress.Report(Secrets.Mask(text));
        }
    }

    internal static string Count(int packages) =>
        packages == 1 ? "installing 1 package" : $"installing {packages} packages";

    // 'NewConnectionError('<…>: Failed to establish a new connection: [Errno 111] Connection refused')'
    private static string Reason(string text)
    {
        var at = text.LastIndexOf(": ", StringComparison.Ordinal);
        return (at < 0 ? text : text[(at + 2)..]).Trim('\'', '"', ')', ' ');
    }

    [GeneratedRegex(
        @"^(Collecting|Processing|Downloading|Using cached|Installing collected packages:|Building wheel for|Preparing metadata for|Running setup\.py install for) (.+?)( from \S+ \(from .*)?( \(from .*)?( \((setup\.py|pyproject\.toml)\))?(: \S+.*)?$"
    )]
    private static partial Regex Step();

    [GeneratedRegex("after connection broken by '(.*)': ?/")]
    private static partial Regex Broken();

    // These say which package, and the line after them does not.
    [GeneratedRegex(
        @"(Failed building wheel for .*|Could not install packages due to an OSError.*|Could not build wheels for .*|.*No space left on device.*|HTTP error \d+.*|.*THESE PACKAGES DO NOT MATCH THE HASHES.*|Cannot install .* because these package versions have conflicting dependencies.*|Package '.*' requires a different Python.*)"
    )]
    private static partial Regex Telling();
}
