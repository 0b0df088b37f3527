using GraphQL;

namespace WandbLaunch.Server;

/// <summary>A fault of the request, told to the client as a GraphQL error, or with status 400 elsewhere.</summary>
internal sealed class ServerFault(string message) : ExecutionError(message);

/// <summary>A request that is answered with a status of its own and this reason.</summary>
internal sealed class RequestFault(int status, string message) : Exception(message)
{
    internal int Status => status;
}

/// <summary>Why the server cannot start: one line for whoever starts it, and the program's exit code.</summary>
internal sealed class StartFault(int exitCode, string message) : Exception(message)
{
    /// <summary>Exit code: the address cannot be used.</summary>
    internal const int Address = 1;

    /// <summary>Exit code: the database cannot be used, and was left as it is.</summary>
    internal const int Database = 3;

    /// <summary>Exit code: another server has the database.</summary>
    internal const int InUse = 4;

    /// <summary>Exit code: the certificate cannot be used.</summary>
    internal const int Certificate = 5;

    /// <summary>Exit code: others would reach the server without encryption, and nobody said that they may.</summary>
    internal const int Insecure = 6;

    /// <summary>Exit code: a backup cannot be written.</summary>
    internal const int Backup = 7;

    /// <summary>Exit code: it is no backup, or a damaged one.</summary>
    internal const int Invalid = 8;

    /// <summary>Exit code: something is there already.</summary>
    internal const int Occupied = 9;

    internal int ExitCode => exitCode;
}
