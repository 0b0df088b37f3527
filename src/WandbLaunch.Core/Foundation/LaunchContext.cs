using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace WandbLaunch.Foundation;

/// <summary>
/// What everything that launches is given: the machine's environment, the clock, where it logs, and the caches. A shell, a
/// service and a test each make their own; stores of upper layers are made from it.
/// </summary>
internal sealed record LaunchContext
{
    /// <summary>What the machine tells about itself.</summary>
    internal LaunchEnvironment Environment { get; init; } = new();

    /// <summary>The clock, and every pause.</summary>
    internal TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>What the launcher says to whoever reads logs; nothing with a secret in it.</summary>
    internal ILogger Log { get; init; } = NullLogger.Instance;

    /// <summary>The module's data folder: runs, agents, caches, the server's database.</summary>
    internal string DataFolder => Environment.DataFolder;

    /// <summary>Bare mirrors, workspaces, environments.</summary>
    internal LaunchCache Cache => new(Environment["WANDBLAUNCH_CACHE"] ?? Path.Combine(DataFolder, "cache"));

    /// <summary>For a person who watches: callers need not know the logger's types.</summary>
    internal static LaunchContext ForPerson(Action<string>? debug, Action<string>? verbose, Action<string> warn) =>
        new() { Log = new CallbackLogger(debug, verbose, warn) };

    /// <summary>A step of the work, for whoever asked to see them.</summary>
    internal void Step(string text) => Log.LogInformation("{Text}", text);
}
