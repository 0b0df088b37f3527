using WandbLaunch.Wandb;

namespace WandbLaunch.Agents;

/// <summary>The agent's signs of life on the server, up to the last one, and the server's wish that it stops.</summary>
internal sealed class AgentHeartbeat(
    AgentRegistration registration,
    ServerLink link,
    AgentLifetime lifetime,
    AgentShutdown shutdown,
    AgentBoard board,
    TimeProvider time
)
{
    private static readonly TimeSpan Often = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan BusyAskOften = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan GoodbyeLimit = TimeSpan.FromSeconds(10);

    // A server that wakes its agents does so for a stop too; elsewhere the flag has to be looked for. So it must be by one
    // that has no room, or ends after its runs: it waits for no work, and may be told to stop what it runs.
    private readonly TimeSpan _askOften = TimeSpan.FromSeconds(registration.Protocol.CanWaitForWork ? 60 : 10);
    private AgentState? _state;
    private DateTimeOffset _said;
    private DateTimeOffset _asked;
    private volatile bool _lookForStop;
    private volatile bool _goodbye;
    private volatile Task _beat = Task.CompletedTask;

    /// <summary>Done when nothing is on its way.</summary>
    internal Task Current => _beat;

    /// <summary>Called when there is something to send before the next beat is due.</summary>
    internal Action Hurry { get; set; } = () => { };

    /// <summary>When the next beat has something to send, if nothing changes.</summary>
    internal DateTimeOffset Due =>
        // Asked for while a beat was under way that had looked already.
        _lookForStop ? DateTimeOffset.MinValue
        : _said + Often < _asked + _askOften ? _said + Often
        : _asked + _askOften;

    /// <summary>The next beat asks whether the agent is to stop, too.</summary>
    internal void LookForStop()
    {
        _lookForStop = true;
        Hurry();
    }

    /// <summary>Sends what is due. It may take its time: the caller does not wait.</summary>
    internal void Beat()
    {
        if (_beat.IsCompleted && !_goodbye && !link.IsAway && !board.HasLeft)
        {
            _beat = BeatAsync(time.GetUtcNow());
        }
    }

    private async Task BeatAsync(DateTimeOffset now)
    {
        var state = board.State;
        if (state != _state || now - _said >= Often)
        {
            await link.OnceAsync(t => registration.Protocol.SendHeartbeatAsync(registration.AgentId, state, t));
            (_state, _said) = (state, now);
            board.Save();
        }

        if (
            lifetime.Mode is not (AgentMode.Stopping or AgentMode.Detaching)
            && (_lookForStop || now - _asked >= (state == AgentState.Polling ? _askOften : BusyAskOften))
        )
        {
            _lookForStop = false;
            _asked = now;
            await link.OnceAsync(async t =>
            {
                var answer = await registration.Protocol.AgentAsync(registration.AgentId, t);
                if (answer.StopRuns)
                {
                    shutdown.Stop("stopped from the server with its runs");
                }
                else if (answer.StopPolling)
                {
                    shutdown.Drain("stopped from the server");
                }
            });
        }
    }

    /// <summary>The last word, after which none follows: a sign of life that is on its way would arrive after it, and count.</summary>
    internal async Task GoodbyeAsync(bool broken)
    {
        _goodbye = true;
        await Task.WhenAny(_beat, Task.Delay(GoodbyeLimit, time));
        if (link.IsAway)
        {
            return;
        }

        await link.OnceAsync(t =>
            registration.Protocol.SendHeartbeatAsync(registration.AgentId, AgentState.Stopped, t)
        );
        if (registration.LogRun is { } run)
        {
            await link.OnceAsync(t => registration.Api.CompleteAsync(run, broken ? 1 : 0, t));
        }
    }
}
