namespace WandbLaunch.Agents;

/// <summary>Told by the system when somebody of this machine asks the agent to end, so that it need not look every second. Linux alone; elsewhere, and where the system watches no more folders, it is looked.</summary>
internal sealed class AgentStopWatch : IDisposable
{
    private readonly FileSystemWatcher? _watcher;
    private volatile bool _tells;

    /// <param name="path">The marker that is waited for.</param>
    /// <param name="asked">Called when it is there, from any thread.</param>
    internal AgentStopWatch(string path, Action asked)
    {
        if (!OperatingSystem.IsLinux())
        {
            return;
        }

        try
        {
            _watcher = new FileSystemWatcher(Path.GetDirectoryName(path)!, Path.GetFileName(path))
            {
                NotifyFilter = NotifyFilters.FileName,
            };
            _watcher.Created += (_, _) => asked();
            _watcher.Renamed += (_, _) => asked();
            _watcher.Error += (_, _) =>
            {
                _tells = false;
                asked();
            };

            // Before, for where the watches are used up the error may be told from within.
            _tells = true;
            _watcher.EnableRaisingEvents = true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The user's watches are used up.
            _tells = false;
            _watcher?.Dispose();
        }
    }

    /// <summary>False where it has to be looked for.</summary>
    internal bool Tells => _tells;

    public void Dispose()
    {
        _tells = false;
        _watcher?.Dispose();
    }
}
