// Much of what is tested waits, for processes as a rule: more at a time than there are processors.
[assembly: CollectionBehavior(MaxParallelThreads = 4)]

namespace WandbLaunch.Tests;

/// <summary>Tests that use shells in this process, one after the other and beside all others: whatever shell asks, a session has one connection.</summary>
[CollectionDefinition(Name)]
public sealed class SessionCollection
{
    public const string Name = "Session";
}

/// <summary>Tests that change or measure the process itself (variables, folder, umask, git's settings, threads, times of milliseconds), or an engine that all share and that some of them stop: nothing runs beside them.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class ProcessCollection
{
    public const string Name = "Process";
}
