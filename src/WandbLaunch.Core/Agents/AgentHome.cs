using WandbLaunch.Foundation;

namespace WandbLaunch.Agents;

/// <summary>An agent's folder, which is its own as long as it lives: journal, log, and the lock that says so.</summary>
internal sealed class AgentHome : IDisposable
{
    private readonly FileLock _lock;

    private AgentHome(AgentStore store, string name, string folder, FileLock held)
    {
        Store = store;
        Name = name;
        Folder = folder;
        _lock = held;
        Journal = new AgentJournal(folder);
        Log = new AgentLog(folder);
    }

    internal AgentStore Store { get; }
    internal string Name { get; }
    internal string Folder { get; }
    internal AgentJournal Journal { get; }
    internal AgentLog Log { get; }

    /// <summary>Takes the folder of a name.</summary>
    /// <exception cref="LaunchException"><c>AgentRunning</c>, <c>AgentNameInvalid</c>.</exception>
    internal static AgentHome Enter(AgentStore store, string? wanted)
    {
        var (name, folder, held) = store.Enter(wanted);
        return new AgentHome(store, name, folder, held);
    }

    public void Dispose()
    {
        Log.Dispose();
        _lock.Dispose();
    }
}
