using WandbLaunch.Wandb;

namespace WandbLaunch.Agents;

/// <summary>What an agent shows of itself: its state, in a file for the commands of this machine, and as a line for people.</summary>
internal sealed class AgentBoard(
    AgentConfig config,
    AgentHome home,
    AgentRegistration registration,
    AgentItems items,
    AgentCounts counts,
    AgentLifetime lifetime,
    ServerLink link,
    TimeProvider time
)
{
    private readonly DateTimeOffset _started = time.GetUtcNow();
    private readonly object _lock = new();
    private volatile bool _left;

    /// <summary>The last word is written: the folder may be another agent's from now on.</summary>
    internal bool HasLeft => _left;

    /// <summary>What the agent does.</summary>
    internal AgentState State =>
        !lifetime.Works ? AgentState.Draining
        : items.IsEmpty ? AgentState.Polling
        : AgentState.Running;

    internal string Line
    {
        get
        {
            var running = items.Working.Select(i => i.Describe()).Order(StringComparer.Ordinal).ToList();
            var doing =
                running.Count > 0
                    ? string.Join(", ", running.Take(4)) + (running.Count > 4 ? $" and {running.Count - 4} more" : "")
                : lifetime.Works ? "waits for " + string.Join(", ", config.Queues)
                : "ends";
            return $"{(lifetime.Works ? "" : "draining; ")}{(link.IsAway ? "server away; " : "")}{doing} ({counts})";
        }
    }

    internal void Save()
    {
        lock (_lock)
        {
            if (!_left)
            {
                Write(State, null);
            }
        }
    }

    /// <summary>Writes how the agent ended, and nothing after it.</summary>
    internal void SaveEnd(int exitCode)
    {
        lock (_lock)
        {
            _left = true;
            Write(AgentState.Stopped, exitCode);
        }
    }

    /// <summary>Writes nothing more.</summary>
    internal void Leave() => _left = true;

    // For people to read, and written again within seconds: a full disk is no reason to end.
    private void Write(AgentState state, int? exitCode)
    {
        try
        {
            AgentStore.Save(
                home.Folder,
                new WandbLaunchAgent
                {
                    Name = home.Name,
                    State = state,
                    Queues = config.Queues,
                    Entity = registration.Entity,
                    QueueProject = registration.QueueProject,
                    Hostname = Environment.MachineName,
                    ProcessId = Environment.ProcessId,
                    MaxJobs = config.Jobs.Total,
                    MaxJobsOf = config.Jobs.IsByResource ? config.Jobs.ByResource : null,
                    Running = items.Working.Count(),
                    Taken = counts.Taken,
                    Succeeded = counts.Succeeded,
                    Failed = counts.Failed,
                    Stopped = counts.Stopped,
                    Started = _started,
                    Heartbeat = time.GetUtcNow(),
                    AgentId = registration.AgentId,
                    ServerName = registration.ServerName,
                    Server = registration.Connection.BaseUrl,
                    LogPath = home.Log.Path,
                    ExitCode = exitCode,
                }
            );
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The next one says the same, and more.
        }
    }
}
