using System.Management.Automation;
using System.Management.Automation.Host;
using WandbLaunch.Foundation;

namespace WandbLaunch.PowerShell;

/// <summary>
/// What the host shows of a cmdlet's progress, under a source of its own: PowerShell's is out of reach once the pipeline has
/// ended.
/// </summary>
internal sealed class ProgressLines(PSCmdlet cmdlet)
{
    private readonly long _source = (1L << 40) + Random.Shared.Next();
    private readonly Dictionary<int, ProgressRecord> _shown = [];
    private readonly HashSet<int> _reminded = [];

    /// <summary>After so long the console takes the next line.</summary>
    internal static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(300);

    /// <summary>Shows how far a piece of work is; null is unknown, 100 ends it. On the pipeline's thread.</summary>
    internal void Write(string activity, string status, int? percent, int id) =>
        cmdlet.CommandRuntime.WriteProgress(_source, Record(activity, status, percent, id));

    /// <summary>The same past the pipeline, which takes nothing more once it is stopped. From any thread.</summary>
    internal void WriteToHost(string activity, string status, int? percent, int id) =>
        ToHost(Record(activity, status, percent, id));

    /// <summary>True once until <see cref="Again"/>: somebody is to show the line again after a pause.</summary>
    internal bool TryRemind(int id)
    {
        lock (_shown)
        {
            return _reminded.Add(id);
        }
    }

    /// <summary>Shows a line again as it is now, where it still is. On the pipeline's thread.</summary>
    internal void Again(int id)
    {
        ProgressRecord? record;
        lock (_shown)
        {
            _reminded.Remove(id);
            _shown.TryGetValue(id, out record);
        }

        if (record is not null)
        {
            cmdlet.CommandRuntime.WriteProgress(_source, record);
        }
    }

    /// <summary>Takes all lines away. The pipeline would not take a record any more; the host does.</summary>
    internal void End()
    {
        ProgressRecord[] left;
        lock (_shown)
        {
            left = [.. _shown.Values];
            _shown.Clear();
        }

        foreach (var record in left)
        {
            ToHost(
                new ProgressRecord(record.ActivityId, record.Activity, " ")
                {
                    RecordType = ProgressRecordType.Completed,
                }
            );
        }
    }

    private ProgressRecord Record(string activity, string status, int? percent, int id)
    {
        var record = new ProgressRecord(
            id,
            activity,
            status.Length == 0 ? " " : Secrets.Mask(status.Length > 200 ? status[..200] : status)
        )
        {
            PercentComplete = percent is { } p ? Math.Clamp(p, 0, 100) : -1,
            RecordType = percent >= 100 ? ProgressRecordType.Completed : ProgressRecordType.Processing,
        };
        lock (_shown)
        {
            if (record.RecordType == ProgressRecordType.Completed)
            {
                _shown.Remove(id);
            }
            else
            {
                _shown[id] = record;
            }
        }

        return record;
    }

    private void ToHost(ProgressRecord record)
    {
        try
        {
            cmdlet.Host.UI.WriteProgress(_source, record);
        }
        catch (Exception e) when (e is HostException or NotImplementedException or InvalidOperationException)
        {
            // A host without progress.
        }
    }
}
