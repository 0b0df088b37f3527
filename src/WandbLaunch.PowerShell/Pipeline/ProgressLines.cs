using System.Management.Automation;
using System.Management.Automation.Host;
using WandbLaunch.Foundation;

namespace WandbLaunch.PowerShell;

/// <summary>
/// What the host shows of a cmdlet's progress, under a source of its own: PowerShell's is out of reach once the pipeline has
/// ended. Used on the pipeline's thread alone.
/// </summary>
internal sealed class ProgressLines(PSCmdlet cmdlet)
{
    private readonly long _source = (1L << 40) + Random.Shared.Next();
    private readonly Dictionary<int, string> _shown = [];

    /// <summary>Shows how far a piece of work is; null is unknown, 100 ends it.</summary>
    internal void Write(string activity, string status, int? percent, int id)
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
        cmdlet.CommandRuntime.WriteProgress(_source, record);
        if (record.RecordType == ProgressRecordType.Completed)
        {
            _shown.Remove(id);
        }
        else
        {
            _shown[id] = activity;
        }
    }

    /// <summary>Takes all lines away. The pipeline would not take a record any more; the host does.</summary>
    internal void End()
    {
        foreach (var (id, activity) in _shown)
        {
            try
            {
                cmdlet.Host.UI.WriteProgress(
                    _source,
                    new ProgressRecord(id, activity, " ") { RecordType = ProgressRecordType.Completed }
                );
            }
            catch (Exception e) when (e is HostException or NotImplementedException or InvalidOperationException)
            {
                // A host without progress.
            }
        }

        _shown.Clear();
    }
}
