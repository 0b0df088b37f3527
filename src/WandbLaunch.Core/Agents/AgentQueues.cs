using System.Collections.Concurrent;
using WandbLaunch.Model;
using WandbLaunch.Resources;
using WandbLaunch.Wandb;

namespace WandbLaunch.Agents;

/// <summary>How an agent's queues are set: which resource their items have, and the limits of their runs. An admin may change it while the agent runs.</summary>
internal sealed class AgentQueues(
    AgentRegistration registration,
    ServerLink link,
    ResourceCatalog resources,
    TimeProvider time
)
{
    private static readonly TimeSpan Fresh = TimeSpan.FromSeconds(30);

    private readonly ConcurrentDictionary<string, QueueSettings> _settings = new(StringComparer.Ordinal);
    private Task _refresh = Task.CompletedTask;
    private long _asked;
    private bool _known;

    /// <summary>The resource of all items of a queue, under its own name; null where its items may be of any.</summary>
    internal string? ResourceOf(WandbRunQueue queue) =>
        (_settings.GetValueOrDefault(queue.Id)?.Resource ?? queue.Resource) is { Length: > 0 } name
            ? resources.CanonicalName(name)
            : null;

    /// <summary>The limits of a queue's runs, as they are now or were half a minute ago.</summary>
    internal async Task<RunLimits> LimitsOfAsync(string queueId)
    {
        await RefreshAsync();
        return _settings.GetValueOrDefault(queueId)?.Limits ?? RunLimits.None;
    }

    // One question for all queues, and one at a time; a server that is away leaves what was known.
    private Task RefreshAsync()
    {
        lock (_settings)
        {
            if (
                !registration.Protocol.QueuesAreConfigured
                || (_refresh.IsCompleted && _known && time.GetElapsedTime(_asked) < Fresh)
            )
            {
                return Task.CompletedTask;
            }

            return _refresh.IsCompleted ? _refresh = AskAsync() : _refresh;
        }
    }

    private async Task AskAsync()
    {
        await link.OnceAsync(async t =>
        {
            var all = await registration.QueueApi.SettingsAsync(
                registration.Entity,
                registration.QueueProject,
                registration.Queues,
                t
            );
            foreach (var (id, settings) in all)
            {
                if (settings is null)
                {
                    _settings.TryRemove(id, out _);
                }
                else
                {
                    _settings[id] = settings;
                }
            }
        });
        (_asked, _known) = (time.GetTimestamp(), true);
    }
}
