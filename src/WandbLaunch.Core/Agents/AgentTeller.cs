using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Agents;

/// <summary>Tells what happens: into the agent's log, and whoever listens. No secret passes.</summary>
internal sealed class AgentTeller(string agent, AgentLog log, AgentCallbacks callbacks, TimeProvider time)
{
    private string? _repeated;

    /// <summary>Called after each event: the status line has changed.</summary>
    internal Action Told { get; set; } = () => { };

    internal void Tell(
        AgentEventKind kind,
        JournalEntry? entry,
        string message,
        LaunchedRun? run = null,
        string? fault = null
    )
    {
        var happened = new AgentEvent
        {
            Time = time.GetUtcNow(),
            Kind = kind,
            Agent = agent,
            Queue = entry?.Queue,
            ItemId = entry?.Item,
            Id = entry?.AttemptId,
            RunId = entry is null ? null : ItemSpec.Shown(entry.RunId, 128),
            Source = ItemSpec.Shown(Secrets.Mask(entry?.Config.Source ?? ""), 1000) is { Length: > 0 } source
                ? source
                : null,
            ExitCode = run?.ExitCode,
            Duration = run?.Duration,
            Message = ItemSpec.Shown(Secrets.Mask(message), 8000),
            ErrorId = fault ?? run?.ErrorId,
            Run = run,
        };
        log.Write(happened);
        try
        {
            callbacks.Happened(happened);
        }
        catch (Exception e) when (e is InvalidOperationException or OperationCanceledException)
        {
            // Whoever listened is gone.
        }

        Told();
    }

    internal void Warn(string message) => Tell(AgentEventKind.Warning, null, message);

    /// <summary>The same trouble, once a second for hours, is one message.</summary>
    internal void WarnOnce(string message)
    {
        if (message != _repeated)
        {
            _repeated = message;
            Warn(message);
        }
    }

    /// <summary>The trouble is over; the next is told again.</summary>
    internal void ForgetWarning() => _repeated = null;

    /// <summary>For the log alone: what nobody needs to see happen.</summary>
    internal void Note(string message, string errorId) =>
        log.Write(
            new AgentEvent
            {
                Time = time.GetUtcNow(),
                Kind = AgentEventKind.Warning,
                Agent = agent,
                Message = Secrets.Mask(message),
                ErrorId = errorId,
            }
        );

    /// <summary>Shows a line for people.</summary>
    internal void Status(string line) => callbacks.Status(line);

    internal void Step(string name) => callbacks.Step(name);
}
