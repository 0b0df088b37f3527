using System.Collections.Concurrent;
using WandbLaunch.Foundation;

namespace WandbLaunch.Agents;

/// <summary>The items that an agent looks after, each on its road in a task of its own.</summary>
internal sealed class AgentItems(
    Func<JournalEntry, bool, AgentItem> create,
    AgentHome home,
    AgentSlots slots,
    AgentCounts counts,
    AgentLifetime lifetime,
    AgentTeller teller
)
{
    private readonly ConcurrentDictionary<string, AgentItem> _items = new(StringComparer.Ordinal);

    internal int Count => _items.Count;

    internal bool IsEmpty => _items.IsEmpty;

    /// <summary>Those that run or are being prepared.</summary>
    internal IEnumerable<AgentItem> Working => _items.Values.Where(i => !i.IsReporting);

    /// <summary>Called when one is done.</summary>
    internal Action Changed { get; set; } = () => { };

    /// <summary>Called when one begins.</summary>
    internal Action Begun { get; set; } = () => { };

    internal bool Has(string launchId) => _items.ContainsKey(launchId);

    /// <summary>Looks after an item from here on, in whatever state the journal has it.</summary>
    /// <param name="entry">What the journal says of it.</param>
    /// <param name="adopted">It was begun by an agent that ended.</param>
    /// <param name="held">Says that no other agent of this machine looks after it; let go at its end.</param>
    internal void Begin(JournalEntry entry, bool adopted, FileLock held)
    {
        var item = create(entry, adopted);
        if (!_items.TryAdd(entry.LaunchId, item))
        {
            held.Dispose();
            return;
        }

        if (!adopted)
        {
            counts.Begin();
        }

        if (entry.State != EntryState.Ended)
        {
            slots.Take(item);
        }

        _ = Task.Run(() => LookAfterAsync(item, entry, held));
        Begun();
    }

    private async Task LookAfterAsync(AgentItem item, JournalEntry entry, FileLock held)
    {
        try
        {
            await item.RunAsync();
        }
        catch (OperationCanceledException)
        {
            // The agent ends; the journal has it.
        }
        catch (Exception e)
        {
            // A fault of this program must not take the other runs with it; the journal keeps the item for the next start.
            teller.Tell(AgentEventKind.Warning, entry, $"The item could not be looked after: {e.Message}");
        }
        finally
        {
            slots.Leave(item);
            if (home.Journal.Has(entry.LaunchId))
            {
                held.Dispose();
            }
            else
            {
                AgentJournal.LetGo(home.Store.DataFolder, entry.LaunchId, held);
            }

            _items.TryRemove(entry.LaunchId, out _);
            Changed();
            lifetime.Wake();
        }
    }
}
