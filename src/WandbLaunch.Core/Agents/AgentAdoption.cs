using WandbLaunch.Foundation;

namespace WandbLaunch.Agents;

/// <summary>Takes what this agent, or one of this machine that is gone, left behind: watched by anyone, started only by whoever listens to its queue.</summary>
internal sealed class AgentAdoption(
    AgentHome home,
    AgentRegistration registration,
    AgentItems items,
    AgentLifetime lifetime,
    AgentTeller teller
)
{
    internal void Adopt()
    {
        if (!lifetime.Works)
        {
            return;
        }

        foreach (var folder in home.Store.Folders())
        {
            if (folder == home.Folder)
            {
                foreach (var entry in Entries(home.Journal))
                {
                    AdoptOwn(entry);
                }

                continue;
            }

            using var free = FileLock.TryEnter(AgentStore.LockPath(folder));
            if (free is null)
            {
                continue;
            }

            var journal = new AgentJournal(folder);
            foreach (var entry in Entries(journal))
            {
                AdoptFrom(journal, entry);
            }
        }
    }

    private IEnumerable<JournalEntry> Entries(AgentJournal journal) =>
        journal.Entries(teller.Warn).Where(e => e.Server == registration.ServerKey);

    private void AdoptOwn(JournalEntry entry)
    {
        if (items.Has(entry.LaunchId))
        {
            return;
        }

        if (AgentJournal.TryHold(home.Store.DataFolder, entry.LaunchId) is { } held)
        {
            items.Begin(entry, true, held);
        }
        else if (IsElsewhere(entry.LaunchId))
        {
            // An agent of this machine has it at this moment, and its journal says so too: this one is a copy.
            home.Journal.Remove(entry.LaunchId);
            teller.Tell(
                AgentEventKind.Warning,
                entry,
                "Another agent of this machine looks after this item: the agent's folder seems to be a copy of that one's."
            );
        }
    }

    private void AdoptFrom(AgentJournal journal, JournalEntry entry)
    {
        if (items.Has(entry.LaunchId))
        {
            // A copy of a folder has the same items; this one is looked after already.
            journal.Remove(entry.LaunchId);
            return;
        }

        if (IsForUs(entry) && AgentJournal.TryHold(home.Store.DataFolder, entry.LaunchId) is { } held)
        {
            home.Journal.TakeFrom(journal, entry.LaunchId);
            items.Begin(entry, true, held);
        }
    }

    private bool IsForUs(JournalEntry entry) =>
        entry.Entity == registration.Entity
        && (
            entry.State is not (EntryState.Popped or EntryState.Claimed)
            || (entry.QueueProject == registration.QueueProject && registration.Queues.Any(q => q.Name == entry.Queue))
        );

    private bool IsElsewhere(string launchId)
    {
        foreach (var folder in home.Store.Folders().Where(f => f != home.Folder))
        {
            using var free = FileLock.TryEnter(AgentStore.LockPath(folder));
            if (free is null && new AgentJournal(folder).Has(launchId))
            {
                return true;
            }
        }

        return false;
    }
}
