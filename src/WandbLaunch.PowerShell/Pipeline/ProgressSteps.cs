using System.Collections.Concurrent;

namespace WandbLaunch.PowerShell;

/// <summary>Which reports of progress begin a step: one that only counts on is the same one.</summary>
internal sealed class ProgressSteps
{
    private readonly ConcurrentDictionary<int, string> _last = new();

    /// <summary>True for the first report of a step.</summary>
    internal bool IsNew(int id, string status)
    {
        var step = string.Concat(status.Where(c => !char.IsAsciiDigit(c)));
        var before = _last.GetValueOrDefault(id);
        _last[id] = step;
        return step.Length > 0 && step != before;
    }
}
