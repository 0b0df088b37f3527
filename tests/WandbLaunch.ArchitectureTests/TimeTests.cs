using Mono.Cecil;

namespace WandbLaunch.ArchitectureTests;

/// <summary>Who may ask the process itself for the time and its variables, and who may hold a thread up. The lists of exceptions only shrink.</summary>
public sealed class TimeTests
{
    [Fact]
    public void Core_takes_time_and_variables_from_its_context()
    {
        Dictionary<string, string> known = new()
        {
            ["WandbLaunch.Foundation.LaunchEnvironment"] = "what the context itself reads",
            ["WandbLaunch.Foundation.CallbackLogger"] = "how long a command takes, for a person who watches",
            ["WandbLaunch.Foundation.ProgramPath"] =
                "the PATH that the system itself starts programs by, which is the process's",
            ["WandbLaunch.Foundation.ExternalProgram"] =
                "waits for a process of the system, which knows no other clock",
            ["WandbLaunch.Foundation.ProcessTree"] = "waits for processes to end",
            ["WandbLaunch.Resources.RunningProcess"] = "waits for processes to end",
            ["WandbLaunch.LocalServer.LocalServers"] = "waits for a process to end",
            ["WandbLaunch.Foundation.FileLock"] = "waits for another process to let a file go",
            ["WandbLaunch.Foundation.FileModes"] = "waits for another process to let a file go",
            ["WandbLaunch.Foundation.LaunchCache"] = "sets times of files, which are the file system's",
            ["WandbLaunch.LocalServer.ServerPage"] = "compares with times of files, which are the file system's",
            ["WandbLaunch.Foundation.RunCgroup"] = "compares with times of folders",
            ["WandbLaunch.Agents.AgentJournal"] = "a name that is not there yet",
            ["WandbLaunch.Wandb.WandbSettings"] = "whether a login is over, before there is a context",
            ["WandbLaunch.Model.LaunchedRun"] = "objects that users hold say how long they run",
            ["WandbLaunch.Wandb.WandbLaunchQueueItem"] = "objects that users hold say how old they are",
        };
        using var core = Assemblies.Read("WandbLaunch.Core");
        Assemblies.AssertSame(known.Keys, Callers(core, AsksTheProcess));
    }

    [Fact]
    public void Nothing_waits_for_a_task_with_its_thread()
    {
        Dictionary<string, string> known = new()
        {
            ["WandbLaunch.PowerShell.AsyncPSCmdlet"] = "the pipeline's thread is PowerShell's and waits for the work",
            ["WandbLaunch.PowerShell.StartWandbLaunchCommand"] =
                "Dispose has no task, and ends the runs before it returns",
            ["WandbLaunch.PowerShell.CompletionCache"] = "PowerShell waits for a completer, and this long at most",
            ["WandbLaunch.Foundation.ProcessTree"] =
                "some milliseconds of work on the pool, in methods that must not await",
            ["WandbLaunch.Sources.GitHttpTransport"] =
                "libgit2 calls it from native code and takes the bytes at its return",
        };
        Assemblies.AssertSame(
            known.Keys,
            Assemblies
                .Ours.SelectMany(name =>
                {
                    using var module = Assemblies.Read(name);
                    return Callers(module, WaitsForATask).ToList();
                })
                .Distinct()
        );
    }

    private static IEnumerable<string> Callers(
        ModuleDefinition module,
        Func<MethodReference, MethodDefinition, bool> wrong
    ) =>
        module
            .AllTypes()
            .SelectMany(t => t.Methods)
            .Where(m =>
                m.HasBody && m.Body.Instructions.Any(i => i.Operand is MethodReference called && wrong(called, m))
            )
            .Select(m => m.DeclaringType.Outermost().FullName)
            .Distinct();

    private static bool AsksTheProcess(MethodReference called, MethodDefinition by) =>
        (called.DeclaringType.FullName, called.Name) switch
        {
            ("System.Diagnostics.Stopwatch", _) => true,
            ("System.DateTime" or "System.DateTimeOffset", "get_UtcNow" or "get_Now" or "get_Today") => true,
            ("System.Environment", "GetEnvironmentVariable" or "GetEnvironmentVariables") => true,
            ("System.Environment", "get_TickCount" or "get_TickCount64") => true,
            ("System.Threading.Tasks.Task", "Delay") => called.Parameters.All(p =>
                p.ParameterType.FullName != "System.TimeProvider"
            ),
            _ => false,
        };

    // What awaits is a state machine, and asks only for results that are there. An asynchronous Main is waited for by the process.
    private static bool WaitsForATask(MethodReference called, MethodDefinition by)
    {
        var type = called.DeclaringType.GetElementType().FullName;
        return type switch
        {
            "System.Threading.Tasks.Task" or "System.Threading.Tasks.Task`1" => called.Name
                is "Wait"
                    or "WaitAll"
                    or "WaitAny"
                    or "get_Result",
            _ => called.Name == "GetResult"
                && type.StartsWith("System.Runtime.CompilerServices.", StringComparison.Ordinal)
                && type.Contains("Awaiter", StringComparison.Ordinal)
                && by != by.Module.EntryPoint
                && by.DeclaringType.Interfaces.All(i => i.InterfaceType.Name != "IAsyncStateMachine"),
        };
    }
}
