using System.Text.Json;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Wandb;

namespace WandbLaunch.Agents;

/// <summary>The agents of this user on this machine, a folder each.</summary>
internal sealed class AgentStore(string dataFolder)
{
    private readonly string root = Path.Combine(dataFolder, "agents");

    /// <summary>The agents of a user's data folder.</summary>
    internal static AgentStore Of(LaunchContext context) => new(context.DataFolder);

    /// <summary>The folder above: of everything of this user.</summary>
    internal string DataFolder => dataFolder;

    internal string FolderOf(string name) => Path.Combine(root, name);

    internal static string StatePath(string folder) => Path.Combine(folder, "agent.json");

    internal static string LockPath(string folder) => Path.Combine(folder, "agent.lock");

    internal static string StopPath(string folder) => Path.Combine(folder, "stop");

    /// <summary>Takes the folder of a name; without one, of the first name made of the machine's that is free.</summary>
    /// <exception cref="LaunchException"><c>AgentRunning</c>, <c>AgentNameInvalid</c>.</exception>
    internal (string Name, string Folder, FileLock Lock) Enter(string? name)
    {
        if (
            name is not null
            && (
                name.Length is 0 or > 64
                || name.Any(c => !(char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.'))
                || name[0] is '.' or '-'
            )
        )
        {
            throw new LaunchException(
                "AgentNameInvalid",
                LaunchErrorCategory.InvalidArgument,
                $"'{name}' cannot be the name of an agent: letters, digits, - _ . only, 64 at most.",
                name
            );
        }

        for (var number = 1; ; number++)
        {
            var machine = new string([
                .. Environment.MachineName.ToLowerInvariant().Where(c => char.IsAsciiLetterOrDigit(c) || c is '-'),
            ]).Trim('-');
            var wanted = name ?? (machine.Length == 0 ? "agent" : machine) + (number == 1 ? "" : $"-{number}");
            var folder = FileModes.CreatePrivateFolder(FolderOf(wanted));

            // Twice: another agent may just be looking whether this one is gone.
            if ((FileLock.TryEnter(LockPath(folder)) ?? TryAgain(LockPath(folder))) is { } held)
            {
                File.Delete(StopPath(folder));
                return (wanted, folder, held);
            }

            if (name is not null)
            {
                throw new LaunchException(
                    "AgentRunning",
                    LaunchErrorCategory.ResourceExists,
                    $"An agent named {name} runs on this machine already. See Get-WandbLaunchAgent {name}; stop it with Stop-WandbLaunchAgent, or choose another -Name.",
                    name
                );
            }
        }
    }

    private static FileLock? TryAgain(string path)
    {
        Thread.Sleep(100);
        return FileLock.TryEnter(path);
    }

    internal IEnumerable<string> Folders() =>
        Directory.Exists(root) ? Directory.EnumerateDirectories(root).Order(StringComparer.OrdinalIgnoreCase) : [];

    internal IEnumerable<WandbLaunchAgent> All() => Folders().Select(Load).OfType<WandbLaunchAgent>();

    /// <summary>How many items of an agent are not reported to their end.</summary>
    internal int OpenItems(string name) => new AgentJournal(FolderOf(name)).Count();

    /// <summary>Removes what is left of an agent; false when it runs.</summary>
    internal bool Remove(string name)
    {
        var folder = FolderOf(name);
        using (var held = FileLock.TryEnter(LockPath(folder)))
        {
            if (held is null)
            {
                return false;
            }

            // Without its state it is in no list, whatever happens now.
            File.Delete(StatePath(folder));
        }

        LaunchCache.DeleteFolder(folder);
        return true;
    }

    internal static void Save(string folder, WandbLaunchAgent agent) =>
        FileModes.WritePrivate(StatePath(folder), JsonSerializer.Serialize(agent, LaunchStore.Json));

    /// <summary>Reads an agent; one whose lock is free without having said goodbye is lost.</summary>
    internal static WandbLaunchAgent? Load(string folder)
    {
        WandbLaunchAgent? agent;
        try
        {
            agent = JsonSerializer.Deserialize<WandbLaunchAgent>(
                FileModes.ReadShared(StatePath(folder)),
                LaunchStore.Json
            );
        }
        catch (Exception e) when (e is IOException or JsonException or UnauthorizedAccessException)
        {
            return null;
        }

        if (agent is null or { State: AgentState.Stopped })
        {
            return agent;
        }

        using var held = FileLock.TryEnter(LockPath(folder));
        return held is null ? agent : agent with { State = AgentState.Lost };
    }

    /// <summary>Asks an agent to end: after its runs, or with them. A stop that was asked for already is not made less by a drain.</summary>
    internal static void AskStop(string folder, bool drain)
    {
        if (!drain)
        {
            FileModes.WritePrivate(StopPath(folder), "stop");
            return;
        }

        var mine = Path.Combine(folder, ".drain-" + Guid.NewGuid().ToString("n")[..8]);
        FileModes.WritePrivate(mine, "drain");
        try
        {
            File.Move(mine, StopPath(folder), false);
        }
        catch (IOException) when (File.Exists(StopPath(folder)))
        {
            File.Delete(mine);
        }
    }

    /// <summary>What was asked, taken away: drain, stop, or null. What is asked meanwhile is another marker.</summary>
    internal static string? TakeStop(string folder)
    {
        var taken = Path.Combine(folder, ".stop-taken");
        if (!File.Exists(StopPath(folder)))
        {
            return null;
        }

        File.Move(StopPath(folder), taken, true);
        var asked = File.ReadAllText(taken);
        File.Delete(taken);
        return asked == "drain" ? "drain" : "stop";
    }
}
