using System.Net;
using WandbLaunch.Server.Auth;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Audit;

/// <summary>What somebody did.</summary>
internal enum AuditAction
{
    /// <summary>Put something into a queue.</summary>
    Queued,

    /// <summary>Took something out of a queue, to run it.</summary>
    Popped,

    /// <summary>Made something.</summary>
    Created,

    /// <summary>Changed something.</summary>
    Changed,

    /// <summary>Deleted something.</summary>
    Deleted,

    /// <summary>Signed in to the page.</summary>
    SignedIn,

    /// <summary>Was refused.</summary>
    Refused,
}

/// <summary>
/// The log of who did what. What is pushed and popped does not wait for it: entries are written together a moment later, in
/// the order in which they came, and before the server ends.
/// </summary>
internal sealed partial class AuditLog : IDisposable
{
    private const int MostWaiting = 5_000;
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(250);
    private static readonly TimeSpan Retry = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan Round = TimeSpan.FromHours(1);

    private readonly AuditRepository _entries;
    private readonly ILogger<AuditLog> _log;
    private readonly LaunchServerOptions _options;
    private readonly object _lock = new();
    private readonly object _writing = new();
    private readonly ITimer _timer;
    private readonly ITimer _rounds;
    private List<AuditRecord> _waiting = [];

    public AuditLog(AuditRepository entries, LaunchServerOptions options, TimeProvider time, ILogger<AuditLog> log)
    {
        _entries = entries;
        _options = options;
        _log = log;
        _timer = time.CreateTimer(_ => Write(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        _rounds = time.CreateTimer(_ => Forget(), null, TimeSpan.FromSeconds(10), Round);
    }

    /// <summary>Notes what a request did.</summary>
    internal void Add(HttpContext context, Caller caller, AuditAction action, AuditNote note)
    {
        var entry = new AuditRecord
        {
            At = Database.Now,
            User = caller.Name,
            Action = action.ToString(),
            Operation = note.Operation,
            Entity = note.Entity,
            Project = note.Project,
            Subject = JsonLimits.Short(OneLine(note.Subject), 500),
            Queue = note.Queue,
            Client = JsonLimits.Short(OneLine(context.Request.Headers.UserAgent.ToString()), 200),
            Address = Address(context.Connection.RemoteIpAddress),
        };
        int waiting;
        lock (_lock)
        {
            _waiting.Add(entry);
            waiting = _waiting.Count;
            if (waiting == 1)
            {
                _timer.Change(Pause, Timeout.InfiniteTimeSpan);
            }
        }

        if (waiting >= MostWaiting)
        {
            Write();
        }
    }

    /// <summary>What is asked for, with all that came before the question.</summary>
    internal (List<AuditRecord> Entries, bool More) Page(AuditQuery query)
    {
        Write();
        return _entries.Page(query);
    }

    public void Dispose()
    {
        _rounds.Dispose();
        _timer.Dispose();
        Write();
    }

    // In the order in which they came: one writes at a time.
    private void Write()
    {
        lock (_writing)
        {
            List<AuditRecord> taken;
            lock (_lock)
            {
                if (_waiting.Count == 0)
                {
                    return;
                }

                (taken, _waiting) = (_waiting, []);
            }

            try
            {
                _entries.Add(taken);
            }
            catch (Exception e)
            {
                // A full disk, a busy database: they are tried again with the next, as many as may wait.
                Failed(_log, taken.Count, e);
                lock (_lock)
                {
                    _waiting = [.. taken.Concat(_waiting).TakeLast(MostWaiting - 1)];
                    _timer.Change(Retry, Timeout.InfiniteTimeSpan);
                }
            }
        }
    }

    private void Forget()
    {
        try
        {
            _entries.Forget(_options.AuditAge);
        }
        catch (Exception e)
        {
            // The next round is in an hour.
            NotForgotten(_log, e);
        }
    }

    private static string Address(IPAddress? address) =>
        address is null ? ""
        : address.IsIPv4MappedToIPv6 ? address.MapToIPv4().ToString()
        : address.ToString();

    private static string OneLine(string text) =>
        text.Any(char.IsControl) ? string.Concat(text.Select(c => char.IsControl(c) ? ' ' : c)) : text;

    [LoggerMessage(40, LogLevel.Error, "{Count} entries of the audit log could not be written.")]
    private static partial void Failed(ILogger log, int count, Exception e);

    [LoggerMessage(41, LogLevel.Warning, "Old entries of the audit log could not be deleted.")]
    private static partial void NotForgotten(ILogger log, Exception e);
}
